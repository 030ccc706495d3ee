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
    "Higham02": "N. J. Higham, Accuracy and stability of numerical algorithms, second edition, SIAM, 2002.",
    "Ogita05": "T. Ogita, S. M. Rump and S. Oishi, Accurate sum and dot product, SIAM Journal on Scientific "
    "Computing 26(6), 2005, 1955-1988.",
    "Joldes17": "M. Joldes, J.-M. Muller and V. Popescu, Tight and rigorous error bounds for basic building blocks of "
    "double-word arithmetic, ACM Transactions on Mathematical Software 44(2), 2017.",
    "AlMohy09": "A. H. Al-Mohy and N. J. Higham, Computing the Frechet derivative of the matrix exponential, SIAM Journal "
    "on Matrix Analysis and Applications 30(4), 2009, 1639-1657.",
}
