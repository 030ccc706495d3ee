"""Sources cited in docstrings, one key each. A test fails on an unknown key and on a key nobody cites."""

REFERENCES: dict[str, str] = {
    "Si25": "C. Si et al., Generalized tensor-based parameter-efficient fine-tuning via Lie group transformations, "
    "ICCV 2025, arXiv:2504.00851.",
    "Hu21": "E. Hu et al., LoRA: low-rank adaptation of large language models, ICLR 2022, arXiv:2106.09685v2.",
    "Huang25": "Q. Huang et al., HiRA: parameter-efficient Hadamard high-rank adaptation, ICLR 2025.",
    "Giles08": "M. Giles, An extended collection of matrix derivative results for forward and reverse mode algorithmic "
    "differentiation, Oxford University, report NA-08-01, 2008.",
    "Kingma15": "D. Kingma and J. Ba, Adam: a method for stochastic optimization, ICLR 2015, arXiv:1412.6980v9.",
    "Loshchilov19": "I. Loshchilov and F. Hutter, Decoupled weight decay regularization, ICLR 2019, arXiv:1711.05101v3.",
    "Kolda09": "T. Kolda and B. Bader, Tensor decompositions and applications, SIAM Review 51(3), 2009.",
}
