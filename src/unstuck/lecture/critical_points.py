"""Chapter 1: when the gradient is nearly zero."""

from unstuck.lecture.chapter import Chapter, Line, Shown, Text

KINDS = "wrong kinds of points"

CHAPTER = Chapter(
    number=1,
    title=Text("Critical points", "临界点 (critical point)"),
    opens=Text(
        "The loss no longer falls, and the gradient is nearly zero. Is it a local minimum, from which there is no way, "
        "or a saddle point, from which there is one?",
        "损失不再下降，梯度几乎为零。这是无路可走的局部最小值 (local minimum)，还是仍有出路的鞍点 (saddle point)？",
    ),
    lines=(
        Line(
            says=Text(
                "Where the gradient is zero, the Hessian tells which it is: all eigenvalues positive, a local minimum; "
                "all negative, a local maximum; some of each, a saddle point.",
                "在梯度为零处，由海森矩阵 (Hessian) 判断：特征值 (eigenvalue) 全为正是局部最小值，"
                "全为负是局部最大值，有正有负则是鞍点。",
            ),
            study="critical-point",
            gate=KINDS,
            number=Text("points of known kinds that were told wrongly", "判断错误的已知临界点个数"),
            correction=Text(
                "Eigenvalues may be zero, and then the Hessian leaves it open: with three weights in a row it is zero "
                "at the origin, and at the lecture's own minima one of the two is.",
                "特征值可以为零，这时海森矩阵无法判断：三个权重相乘时原点处它全为零，"
                "而讲义例子自己的最小值处，两个特征值中有一个为零。",
            ),
        ),
        Line(
            says=Text(
                "In the lecture's example, (1 − w1·w2)² at (0, 0), the Hessian is [[0, −2], [−2, 0]] with eigenvalues "
                "2 and −2: a saddle point.",
                "讲义的例子 (1 − w1·w2)² 在 (0, 0) 处的海森矩阵是 [[0, −2], [−2, 0]]，特征值为 2 和 −2：这是鞍点。",
            ),
            study="critical-point",
            gate="error of the closed forms",
            number=Text("difference from what is computed by hand", "与手算结果之差"),
            shows=(
                Shown(
                    picture="surface",
                    title="(1 − w1·w2)² 的曲面，以及离开鞍点的路",
                    sees="鞍点在中间，山谷 w1·w2 = 1 在两个角上。梯度下降从离鞍点千分之一处出发，先缓慢爬行，"
                    "然后沿 w1 = w2 落入山谷。",
                ),
            ),
        ),
        Line(
            says=Text(
                "An eigenvector with a negative eigenvalue is a way down: along it the loss falls.",
                "负特征值的特征向量 (eigenvector) 就是出路：沿着它走，损失下降。",
            ),
            study="critical-point",
            gate="drop over the drop that the curvature predicts",
            number=Text("fall of the loss over what the eigenvalue predicts", "损失的下降与特征值预测之比"),
        ),
        Line(
            says=Text(
                "It is seldom done that way, as the Hessian costs too much; there are cheaper ways to leave.",
                "实际上很少这样做，因为计算海森矩阵代价太高；离开鞍点有更便宜的方法。",
            ),
            study="critical-point",
            gate="gradients by whole Hessian over those by perturbed gradient descent",
            number=Text("cost of the whole Hessian over that of a small push", "完整海森矩阵与轻推一下的代价之比"),
            correction=Text(
                "The eigenvector alone needs no Hessian, only products with it; where the way down is faint it is by "
                "far the cheapest way to leave.",
                "只求特征向量并不需要整个海森矩阵，只需它与向量的乘积；出路很平缓时，这反而是最便宜的方法。",
            ),
            shows=(
                Shown(
                    picture="gradients-spent",
                    title="离开手写数字网络的鞍点：损失与用掉的梯度次数",
                    sees="小批次最先离开，只用几次梯度，其次是动量。Lanczos 先付出求方向的代价，之后几次更新就"
                    "离开；完整的海森矩阵代价最高。",
                ),
                Shown(
                    picture="faintness",
                    title="出路越平缓，离开的代价",
                    sees="梯度下降所需的梯度次数成比例增加，加上动量约为其十分之一。Lanczos 增加得慢得多，完整"
                    "海森矩阵的代价则处处相同。",
                ),
            ),
        ),
        Line(
            says=Text(
                "What is a local minimum in two dimensions may be a saddle point in three: with as many dimensions as "
                "a network has, there is nearly always a way.",
                "在二维中看似局部最小值的点，在三维中可能是鞍点：网络的维度如此之多，几乎总有出路。",
            ),
            study="saddles-and-index",
            gate="slices of 48 dimensions that look like a minimum",
            number=Text(
                "slices of 48 dimensions in which a saddle looks like a minimum", "鞍点看似最小值的 48 维切片比例"
            ),
            correction=Text(
                "Two dimensions are not enough to see it, and a random slice of 16 still hides four ways down: a "
                "picture of a surface says little about what it leaves out.",
                "二维看不出来，随机的 16 维切片仍会隐藏四个下降方向：曲面图没画出的部分，它几乎说明不了。",
            ),
            shows=(
                Shown(
                    picture="slices",
                    title="只看几个维度时，鞍点是什么样子",
                    sees="只看两维时，穿过鞍点的切片几乎都像最小值。下降方向越多，只需越少的维度就不再有切片像最小值。",
                ),
            ),
        ),
        Line(
            says=Text(
                "A network stops where its minimum ratio, the share of eigenvalues above zero, is about one half: half "
                "of the directions still go down, and local minima are rare.",
                "网络停在最小值比例 (minimum ratio，即正特征值所占的比例) 约为一半的地方："
                "还有约一半的方向可以下降，局部最小值很少见。",
            ),
            study="minimum-ratio",
            gate="minimum ratio",
            number=Text("minimum ratio", "最小值比例"),
            correction=Text(
                "Most of the other half are flat rather than downhill, and a global minimum may have the same ratio.",
                "另一半方向大多是平的，而不是向下的；全局最小值的比例也可以是这样。",
            ),
            shows=(
                Shown(
                    picture="minimum-ratio",
                    title="最小值比例与训练损失",
                    sees="每个点是一个训练好的网络。无论损失高低，它们都在 0.5 与 0.6 之间，没有一个在 1。",
                ),
                Shown(
                    picture="taken-apart",
                    title="同样的网络，把平的方向单独计算",
                    sees="把接近零的曲率单独计算后，一半以上的方向是平的，其余方向中向下的比向上的少。损失越高，"
                    "向下的方向越多。",
                ),
            ),
        ),
    ),
    summary=(
        Line(
            says=Text("Critical points have zero gradients.", "临界点的梯度为零。"),
            study="batch-accuracy",
            gate="gradient of the whole set at the saddle",
            number=Text("norm of the gradient at a saddle point of real data", "真实数据的鞍点处梯度的长度"),
        ),
        Line(
            says=Text(
                "They are saddle points or local minima, and the Hessian tells which.",
                "它们是鞍点或局部最小值，由海森矩阵判断。",
            ),
            study="critical-point",
            gate=KINDS,
            number=Text("points of known kinds that were told wrongly", "判断错误的已知临界点个数"),
        ),
        Line(
            says=Text(
                "Saddle points can be left along eigenvectors of the Hessian.", "可以沿海森矩阵的特征向量离开鞍点。"
            ),
            study="critical-point",
            gate="drop over the drop that the curvature predicts",
            number=Text("fall of the loss over what the eigenvalue predicts", "损失的下降与特征值预测之比"),
        ),
        Line(
            says=Text("Local minima may be rare.", "局部最小值可能很少见。"),
            study="minimum-ratio",
            gate="minimum ratio",
            number=Text("minimum ratio", "最小值比例"),
        ),
        Line(
            says=Text(
                "Smaller batches and momentum help to leave critical points.",
                "较小的批次 (batch) 和动量 (momentum) 有助于离开临界点。",
            ),
            study="batch-accuracy",
            gate="updates to leave, whole set over small batch",
            number=Text(
                "updates to leave a saddle, whole set over small batch", "离开鞍点所需更新：全部数据与小批次之比"
            ),
            correction=Text(
                "Only where single samples have a gradient: at the lecture's own saddle point none has, and batches of "
                "any size stay there.",
                "前提是单个样本有梯度：在讲义例子的鞍点处没有任何样本有梯度，任何大小的批次都会停在那里。",
            ),
        ),
    ),
)
