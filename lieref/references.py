"""Sources cited in docstrings, one key each. A test fails on an unknown key and on a key nobody cites."""

REFERENCES: dict[str, str] = {
    "Si25": "C. Si et al., Generalized tensor-based parameter-efficient fine-tuning via Lie group transformations, "
    "ICCV 2025, arXiv:2504.00851.",
    "Hu21": "E. Hu et al., LoRA: low-rank adaptation of large language models, ICLR 2022, arXiv:2106.09685v2.",
    "Huang25": "Q. Huang et al., HiRA: parameter-efficient Hadamard high-rank adaptation, ICLR 2025.",
    "Si25F": "C. Si et al., Maintaining structural integrity in parameter spaces for parameter-efficient fine-tuning, "
    "ICLR 2025, arXiv:2405.14739.",
    "Yeh24": "S.-Y. Yeh et al., Navigating text-to-image customization: from LyCORIS fine-tuning to model evaluation, "
    "ICLR 2024, arXiv:2309.14859.",
    "Hyeon22": "N. Hyeon-Woo et al., FedPara: low-rank Hadamard product for communication-efficient federated "
    "learning, ICLR 2022, arXiv:2108.06098.",
    "CoLoRA25": "M. Rivera and A. Hoyos, CoLoRA: parameter-efficient fine-tuning for convolutional models, 2025, "
    "arXiv:2505.18315.",
    "LoRAEdge25": "LoRA-Edge: tensor-train-assisted LoRA for fine-tuning on edge devices, DATE 2026, arXiv:2511.03765.",
    "LoRAC24": "LoRA-C: low-rank adaptation of robust CNNs for IoT devices, 2024, arXiv:2410.16954.",
    "Chen25": "W. Chen et al., Large convolutional model tuning via filter subspace, ICLR 2025, arXiv:2403.00269.",
    "Meng24": "F. Meng et al., PiSSA: principal singular values and singular vectors adaptation of large language "
    "models, NeurIPS 2024, arXiv:2404.02948.",
    "Buyukakyuz24": "K. Büyükakyüz, OLoRA: orthonormal low-rank adaptation of large language models, 2024, "
    "arXiv:2406.01775.",
    "Halko11": "N. Halko, P.-G. Martinsson and J. Tropp, Finding structure with randomness: probabilistic algorithms "
    "for constructing approximate matrix decompositions, SIAM Review 53(2), 2011, 217-288.",
    "Qiu23": "Z. Qiu et al., Controlling text-to-image diffusion by orthogonal finetuning, NeurIPS 2023, "
    "arXiv:2306.07280.",
    "Qiu25": "Z. Qiu et al., Orthogonal finetuning made scalable, EMNLP 2025, arXiv:2506.19847.",
    "Ma24": "X. Ma et al., Parameter efficient quasi-orthogonal fine-tuning via Givens rotation, ICML 2024, "
    "arXiv:2404.04316.",
    "Yu25": "F. Yu, J. Hu and G. Min, BoHA: blockwise Hadamard product adaptation for parameter-efficient fine-tuning, "
    "2025, arXiv:2509.21637.",
    "Liu24B": "W. Liu et al., Parameter-efficient orthogonal finetuning via butterfly factorization, ICLR 2024, "
    "arXiv:2311.06243.",
    "Yuan24": "S. Yuan et al., Bridging the gap between low-rank and orthogonal adaptation via Householder reflection "
    "adaptation, NeurIPS 2024, arXiv:2405.17484.",
    "Kopiczko24": "D. Kopiczko, T. Blankevoort and Y. Asano, VeRA: vector-based random matrix adaptation, ICLR 2024, "
    "arXiv:2310.11454.",
    "Albert25": "P. Albert et al., RandLoRA: full-rank parameter-efficient fine-tuning of large models, ICLR 2025, "
    "arXiv:2502.00987.",
    "Zhang23": "L. Zhang et al., LoRA-FA: memory-efficient low-rank adaptation for large language models fine-tuning, "
    "2023, arXiv:2308.03303.",
    "Paischer24": "F. Paischer et al., One initialization to rule them all: fine-tuning via explained variance "
    "adaptation, 2024, arXiv:2410.07170.",
    "Yang24": "Y. Yang et al., CorDA: context-oriented decomposition adaptation of large language models for "
    "task-aware parameter-efficient fine-tuning, NeurIPS 2024, arXiv:2406.05223.",
    "Zhang23A": "Q. Zhang et al., Adaptive budget allocation for parameter-efficient fine-tuning, ICLR 2023, "
    "arXiv:2303.10512.",
    "Gao24": "Z. Gao et al., Parameter-efficient fine-tuning with discrete Fourier transform, ICML 2024, "
    "arXiv:2405.03003.",
    "Bilican25": "A. Bilican et al., Exploring sparsity for parameter efficient fine tuning using wavelets, 2025, "
    "arXiv:2505.12532.",
    "Bhardwaj24": "K. Bhardwaj et al., Sparse high rank adapters, NeurIPS 2024, arXiv:2406.13175.",
    "Chen25C": "A. Chen et al., Parameter-efficient fine-tuning via circular convolution, ACL 2025, arXiv:2407.19342.",
    "Kang24": "J. Kang and Q. Yin, Balancing LoRA performance and efficiency with simple shard sharing, 2024, "
    "arXiv:2409.15371.",
    "Jung25": "Y. Jung et al., GraLoRA: granular low-rank adaptation for parameter-efficient fine-tuning, NeurIPS "
    "2025, arXiv:2505.20355.",
    "Balazy24": "K. Bałazy et al., LoRA-XS: low-rank adaptation with extremely small number of parameters, 2024, "
    "arXiv:2405.17604.",
    "Wu25": "F. Wu et al., Efficient orthogonal fine-tuning with principal subspace adaptation, 2025, "
    "arXiv:2505.11235.",
    "Zhao16": "Q. Zhao et al., Tensor ring decomposition, 2016, arXiv:1606.05535.",
    "Salmon11": "J. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011.",
    "Liu24": "S.-Y. Liu et al., DoRA: weight-decomposed low-rank adaptation, ICML 2024, arXiv:2402.09353.",
    "Liu22": "H. Liu et al., Few-shot parameter-efficient fine-tuning is better and cheaper than in-context learning, "
    "NeurIPS 2022, arXiv:2205.05638.",
    "Kalajdzievski23": "D. Kalajdzievski, A rank stabilization scaling factor for fine-tuning with LoRA, 2023, "
    "arXiv:2312.03732.",
    "Hamidi25": "M. Hamidi and M. Pilanci, ELRA, OpenReview JVyPNQCT8E, 2025.",
    "BenZaken22": "E. Ben Zaken et al., BitFit: simple parameter-efficient fine-tuning for transformer-based masked "
    "language-models, ACL 2022, arXiv:2106.10199.",
    "Frankle21": "J. Frankle, D. Schwab and A. Morcos, Training BatchNorm and only BatchNorm: on the expressive power "
    "of random features in CNNs, ICLR 2021, arXiv:2003.00152.",
    "Zhao24": "B. Zhao et al., Tuning LayerNorm in attention: towards efficient multi-modal LLM finetuning, ICLR 2024, "
    "arXiv:2312.11420.",
    "Li16": "Y. Li et al., Revisiting batch normalization for practical domain adaptation, 2016, arXiv:1603.04779.",
    "Giles08": "M. Giles, An extended collection of matrix derivative results for forward and reverse mode algorithmic "
    "differentiation, Oxford University, report NA-08-01, 2008.",
    "Malladi22": "S. Malladi et al., On the SDEs and scaling rules for adaptive gradient algorithms, NeurIPS 2022, "
    "arXiv:2205.10287.",
    "Zhang18": "H. Zhang et al., mixup: beyond empirical risk minimization, ICLR 2018, arXiv:1710.09412v2.",
    "Kingma15": "D. Kingma and J. Ba, Adam: a method for stochastic optimization, ICLR 2015, arXiv:1412.6980v9.",
    "Loshchilov17": "I. Loshchilov and F. Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017, "
    "arXiv:1608.03983.",
    "Loshchilov19": "I. Loshchilov and F. Hutter, Decoupled weight decay regularization, ICLR 2019, "
    "arXiv:1711.05101v3.",
    "Kolda09": "T. Kolda and B. Bader, Tensor decompositions and applications, SIAM Review 51(3), 2009.",
    "Eckart36": "C. Eckart and G. Young, The approximation of one matrix by another of lower rank, Psychometrika 1(3), "
    "1936.",
    "Higham02": "N. J. Higham, Accuracy and stability of numerical algorithms, second edition, SIAM, 2002.",
    "Ogita05": "T. Ogita, S. M. Rump and S. Oishi, Accurate sum and dot product, SIAM Journal on Scientific "
    "Computing 26(6), 2005, 1955-1988.",
    "Joldes17": "M. Joldes, J.-M. Muller and V. Popescu, Tight and rigorous error bounds for basic building blocks of "
    "double-word arithmetic, ACM Transactions on Mathematical Software 44(2), 2017.",
    "AlMohy09": "A. H. Al-Mohy and N. J. Higham, Computing the Frechet derivative of the matrix exponential, SIAM "
    "Journal on Matrix Analysis and Applications 30(4), 2009, 1639-1657.",
    "Higham08": "N. J. Higham, Functions of matrices: theory and computation, SIAM, 2008.",
    "Guo17": "C. Guo et al., On calibration of modern neural networks, ICML 2017, arXiv:1706.04599v2.",
    "Kolesnikov20": "A. Kolesnikov et al., Big transfer (BiT): general visual representation learning, ECCV 2020, "
    "arXiv:1912.11370.",
    "Lavin16": "A. Lavin and S. Gray, Fast algorithms for convolutional neural networks, CVPR 2016, arXiv:1509.09308.",
    "Cody80": "W. J. Cody and W. Waite, Software manual for the elementary functions, Prentice-Hall, 1980.",
    "Payne83": "M. Payne and R. Hanek, Radian reduction for trigonometric functions, SIGNUM Newsletter 18, 1983.",
    "Graves06": "A. Graves et al., Connectionist temporal classification: labelling unsegmented sequence data with "
    "recurrent neural networks, ICML 2006.",
    "Levenshtein66": "V. Levenshtein, Binary codes capable of correcting deletions, insertions and reversals, Soviet "
    "Physics Doklady 10 (1966) 707.",
    "Keys81": "R. Keys, Cubic convolution interpolation for digital image processing, IEEE Transactions on Acoustics, "
    "Speech, and Signal Processing 29(6), 1981, 1153-1160.",
    "Chan83": "T. Chan, G. Golub and R. LeVeque, Algorithms for computing the sample variance, The American "
    "Statistician 37 (1983) 242.",
    "Yadav23": "P. Yadav et al., TIES-Merging: resolving interference when merging models, NeurIPS 2023, "
    "arXiv:2306.01708.",
    "Yu24": "L. Yu et al., Language models are super Mario: absorbing abilities from homologous models as a free "
    "lunch, ICML 2024, arXiv:2311.03099.",
    "McMahan17": "B. McMahan et al., Communication-efficient learning of deep networks from decentralized data, "
    "AISTATS 2017, arXiv:1602.05629.",
    "Pennec13": "X. Pennec and V. Arsigny, Exponential barycenters of the canonical Cartan connection and invariant "
    "means on Lie groups, in Matrix information geometry, Springer, 2013, 123-166.",
    "Student08": "Student (W. S. Gosset), The probable error of a mean, Biometrika 6(1), 1908, 1-25.",
    "Wilson27": "E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of the "
    "American Statistical Association 22, 1927, 209-212.",
    "Kendall38": "M. G. Kendall, A new measure of rank correlation, Biometrika 30, 1938, 81-93.",
    "Satterthwaite46": "F. E. Satterthwaite, An approximate distribution of estimates of variance components, "
    "Biometrics Bulletin 2(6), 1946, 110-114.",
    "McNemar47": "Q. McNemar, Note on the sampling error of the difference between correlated proportions or "
    "percentages, Psychometrika 12(2), 1947, 153-157.",
    "Cornfield56": "J. Cornfield and J. W. Tukey, Average values of mean squares in factorials, Annals of Mathematical "
    "Statistics 27(4), 1956, 907-949.",
    "Searle71": "S. R. Searle, Linear models, Wiley, 1971.",
    "Ruger78": "B. Rüger, Das maximale Signifikanzniveau des Tests: lehne H0 ab, wenn k unter n gegebenen Tests zur "
    "Ablehnung führen, Metrika 25, 1978, 171-178.",
    "Tango98": "T. Tango, Equivalence test and confidence interval for the difference in proportions for the "
    "paired-sample design, Statistics in Medicine 17(8), 1998, 891-908.",
    "Fagerland13": "M. W. Fagerland, S. Lydersen and P. Laake, The McNemar test for binary matched-pairs data: mid-p "
    "and asymptotic are better than exact conditional, BMC Medical Research Methodology 13:91, 2013.",
    "Newcombe98": "R. G. Newcombe, Interval estimation for the difference between independent proportions: comparison "
    "of eleven methods, Statistics in Medicine 17(8), 1998, 873-890.",
    "Connor87": "R. J. Connor, Sample size for testing differences in proportions for the paired-sample design, "
    "Biometrics 43(1), 1987, 207-211.",
    "Fleiss03": "J. L. Fleiss, B. Levin and M. C. Paik, Statistical methods for rates and proportions, third edition, "
    "Wiley, 2003.",
    "Ville39": "J. Ville, Etude critique de la notion de collectif, Gauthier-Villars, 1939.",
    "Robbins70": "H. Robbins, Statistical methods related to the law of the iterated logarithm, Annals of Mathematical "
    "Statistics 41(5), 1970, 1397-1409.",
    "WaudbySmith24": "I. Waudby-Smith and A. Ramdas, Estimating means of bounded random variables by betting, Journal "
    "of the Royal Statistical Society B 86(1), 2024, 1-27, arXiv:2010.09686.",
    "Orabona24": "F. Orabona and K.-S. Jun, Tight concentrations and confidence sequences from the regret of "
    "universal portfolio, IEEE Transactions on Information Theory 70(1), 2024, 436-455, arXiv:2110.14099.",
    "Holm79": "S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, "
    "1979, 65-70.",
    "Efron87": "B. Efron, Better bootstrap confidence intervals, Journal of the American Statistical Association 82, "
    "1987, 171-185.",
    "Hesterberg15": "T. C. Hesterberg, What teachers should know about the bootstrap: resampling in the undergraduate "
    "statistics curriculum, The American Statistician 69(4), 2015, 371-386.",
    "Owen07": "A. B. Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1(2), 2007, 386-411.",
    "Korn98": "E. L. Korn and B. I. Graubard, Confidence intervals for proportions with small expected number of "
    "positive counts estimated from survey data, Survey Methodology 24(2), 1998, 193-201.",
    "Lee13": "D.-H. Lee, Pseudo-label: the simple and efficient semi-supervised learning method for deep neural "
    "networks, ICML workshop on challenges in representation learning, 2013.",
    "Sohn20": "K. Sohn et al., FixMatch: simplifying semi-supervised learning with consistency and confidence, NeurIPS "
    "2020, arXiv:2001.07685.",
    "Bengio13": "Y. Bengio, N. Léonard and A. Courville, Estimating or propagating gradients through stochastic "
    "neurons for conditional computation, 2013, arXiv:1308.3432.",
    "Martens15": "J. Martens and R. Grosse, Optimizing neural networks with Kronecker-factored approximate curvature, "
    "ICML 2015, arXiv:1503.05671.",
    "Grosse16": "R. Grosse and J. Martens, A Kronecker-factored approximate Fisher matrix for convolution layers, ICML "
    "2016, arXiv:1602.01407.",
    "Witten87": "I. H. Witten, R. M. Neal and J. G. Cleary, Arithmetic coding for data compression, Communications of "
    "the ACM 30(6), 1987, 520-540.",
    "Xie20": "Q. Xie et al., Self-training with noisy student improves ImageNet classification, CVPR 2020, "
    "arXiv:1911.04252.",
}
