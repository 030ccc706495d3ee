"use strict";
// Tables sort by their heads: numbers by size, words by letter, what is missing always last.
const said = document.getElementById("said");
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    const numeric = head.classList.contains("number");
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      // The first click shows the largest number, or the first word, at the top.
      const down = before ? before === "ascending" : numeric;
      const value = (row) => row.cells[column].dataset.value;
      const compare = (a, b) => (numeric ? Number(a) - Number(b) : a.localeCompare(b, "en"));
      const rows = [...body.rows].sort((one, other) => {
        const a = value(one), b = value(other);
        if (a === "" || b === "") return (a === "") - (b === "");
        return down ? compare(b, a) : compare(a, b);
      });
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...rows);
      said.textContent = `Sorted by ${button.textContent}, ${down ? "descending" : "ascending"}.`;
    });
  });
}
// What need not be scrolled is no stop for a keyboard, and no landmark.
function stops() {
  for (const box of document.querySelectorAll(".scroll")) {
    const wide = box.scrollWidth > box.clientWidth;
    if (wide) { box.tabIndex = 0; box.setAttribute("role", "region"); box.setAttribute("aria-labelledby", box.dataset.named); }
    else for (const name of ["tabindex", "role", "aria-labelledby"]) box.removeAttribute(name);
  }
}
stops();
window.addEventListener("resize", stops);
document.addEventListener("toggle", stops, true);
// Points say what they are, to a pointer and to a keyboard; Escape puts it away.
const tip = document.getElementById("tip");
function show(event) {
  const point = event.target.closest("[data-tip]");
  if (!point) return;
  tip.textContent = point.dataset.tip;
  tip.hidden = false;
  const at = point.getBoundingClientRect();
  const left = Math.min(Math.max(8, at.left + at.width / 2 - tip.offsetWidth / 2),
    document.documentElement.clientWidth - tip.offsetWidth - 8);
  const above = at.top - tip.offsetHeight - 8;
  tip.style.left = `${left + window.scrollX}px`;
  tip.style.top = `${(above < 4 ? at.bottom + 8 : above) + window.scrollY}px`;
}
function hide() { tip.hidden = true; }
document.addEventListener("pointerover", show);
document.addEventListener("focusin", show);
document.addEventListener("pointerout", (event) => { if (event.target.closest("[data-tip]")) hide(); });
document.addEventListener("focusout", hide);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
// On paper everything is open but long tables, which the plot above shows.
window.addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details:not(.long)")) each.open = true;
});
