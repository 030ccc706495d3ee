/* The largest block that the process asked of malloc, calloc or realloc since the last reset: preloaded before the
   C library, so that it sees what Python, NumPy and every decoder ask for, at the cost of one comparison. */
#include <stddef.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

static size_t largest;

void reset_largest_allocation(void) { largest = 0; }

size_t largest_allocation(void) { return largest; }

static void see(size_t size) {
    if (size > largest) largest = size;
}

void *malloc(size_t size) {
    see(size);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    see(size && count > (size_t)-1 / size ? (size_t)-1 : count * size);
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
    see(size);
    return __libc_realloc(old, size);
}
