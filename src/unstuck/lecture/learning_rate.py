"""Chapter 3: a learning rate for each parameter, and one that changes as training goes on."""

from unstuck.lecture.chapter import Chapter, Line, Shown, Text

CHAPTER = Chapter(
    number=3,
    title=Text("Learning rate", "学习率 (learning rate)"),
    opens=Text(
        "The loss no longer falls, but the gradient is not small. Which rate should each parameter have, and when?",
        "损失不再下降，梯度却并不小。每个参数应该用多大的学习率？什么时候用？",
    ),
    lines=(
        Line(
            says=Text(
                "A loss that no longer falls does not mean a small gradient: the walk may go to and fro between the "
                "walls of a valley.",
                "损失不再下降，不等于梯度很小：参数可能在山谷的两壁之间来回震荡。",
            ),
            study="gradient-norm",
            gate="gradient between walls over that at convergence",
            number=Text("gradient between walls over that at convergence", "两壁之间的梯度与收敛时的梯度之比"),
            shows=(
                Shown(
                    picture="loss",
                    title="损失不再下降",
                    sees="在两壁之间和在噪声中，损失停在原处；在稳定的边缘，损失缓慢下降。",
                ),
                Shown(
                    picture="gradient",
                    title="梯度却并不小",
                    sees="同样的训练，梯度一直很长。虚线：最后三分之一把学习率降到零，梯度缩短为几十分之一到几"
                    "百分之一。",
                ),
            ),
        ),
        Line(
            says=Text(
                "Even a convex valley can be hard. At a rate of 1e-2 the walk bounces between its walls.",
                "即使是凸的山谷也可能很难走。学习率为 1e-2 时，参数在两壁之间来回弹跳。",
            ),
            study="valley",
            gate="share of updates that cross the valley at 1e-2",
            number=Text("share of updates that cross the valley", "跨过谷底的更新比例"),
            correction=Text(
                "That needs walls that do not get steeper without end. On the parabola of the lecturer's ten points "
                "1e-2 does not bounce but diverges at once.",
                "这要求两壁不会越来越陡。在讲者那十个数据点的抛物面上，1e-2 并不弹跳，而是立刻发散。",
            ),
            shows=(
                Shown(
                    picture="bouncing",
                    title="学习率为 1e-2 时，在两壁之间弹跳",
                    sees="每 1,999 次更新画一个点。学习率为 1e-2 时，一直从一壁跳到另一壁，最后还剩约三分之一"
                    "的路程；为 1e-7 时，走下山壁后停在谷底附近。",
                ),
            ),
        ),
        Line(
            says=Text(
                "At 1e-7 it no longer bounces, but after 100,000 updates it has hardly moved along the valley.",
                "学习率降到 1e-7 就不再弹跳，但更新 100,000 次之后，沿着谷底几乎没有前进。",
            ),
            study="valley",
            gate="left at 1e-7",
            number=Text("part of the way that is left", "剩余路程的比例"),
        ),
        Line(
            says=Text(
                "No rate that is the same for all parameters is good for both directions.",
                "所有参数共用一个学习率，无法同时适合两个方向。",
            ),
            study="valley",
            gate="left at the best constant rate",
            number=Text("part of the way that is left at the best constant rate", "最好的固定学习率剩余路程的比例"),
            correction=Text(
                "For plain gradient descent. With momentum, a single rate arrives here too.",
                "这是指普通的梯度下降。加上动量 (momentum)，单一的学习率在这里也能走到。",
            ),
            shows=(
                Shown(
                    picture="all-rates",
                    title="任一固定学习率更新 100,000 次之后剩下的路程",
                    sees="在十个数据点上，最少也剩约一半，就在发散的界限之前。在两壁为直线的山谷中约剩三分之一，"
                    "在弹跳开始过宽之处。",
                ),
            ),
        ),
        Line(
            says=Text(
                "Different parameters need different rates: small where the surface is steep, large where it is "
                "gentle. So the rate is divided by σ, the root mean square of the gradients so far.",
                "不同参数需要不同的学习率：陡的方向小，平的方向大。因此学习率要除以 σ，即过去梯度的均方根 "
                "(root mean square)。",
            ),
            study="adaptive-rates",
            gate="rate where gradients are 1,000 times smaller",
            number=Text(
                "rate of a parameter whose gradients are 1,000 times smaller, over the other's",
                "梯度小 1,000 倍的参数与另一参数的学习率之比",
            ),
            correction=Text(
                "The rate is larger; the step is not. Both parameters move as far, as if the surface had no scale.",
                "变大的是学习率，而不是步长：两个参数移动得一样远，仿佛曲面没有尺度。",
            ),
        ),
        Line(
            says=Text(
                "That is Adagrad, and it gets along the valley.",
                "这就是 Adagrad，它能沿着山谷走到底。",
            ),
            study="valley",
            gate="left by Adagrad at its nearest",
            number=Text("part of the way that is left where it is nearest", "最接近终点时剩余路程的比例"),
            correction=Text(
                "The valley lies along a parameter. Turned by 45 degrees, it stops every method with a rate for each "
                "parameter.",
                "前提是山谷与某个参数的方向一致。转过 45 度，所有逐参数调整学习率的方法都会停住。",
            ),
            shows=(
                Shown(
                    picture="ten-points",
                    title="在讲者的十个数据点上",
                    sees="各种方法很快到达谷底。1e-7 之后几乎不动。逐参数调整学习率的方法继续走到最小值；Adagr"
                    "ad 一再离开，加上衰减则留在那里。",
                ),
            ),
        ),
        Line(
            says=Text(
                "The rate of one parameter has to change as well, as on a crescent. RMSProp weighs recent gradients "
                "more, and is soon fast again after a steep stretch.",
                "同一个参数的学习率也要随时间改变，例如在新月形的曲面上。RMSProp 更看重最近的梯度，"
                "过了陡坡很快又能加速。",
            ),
            study="adaptive-rates",
            gate="rate after a steep stretch, RMSProp",
            number=Text("rate after a steep stretch over that before it", "陡坡之后与之前的学习率之比"),
            correction=Text(
                "On a real crescent the gain is modest: the lecture's Adagrad and gradient descent need at most two "
                "and three times the updates.",
                "在真正的新月形曲面上收益不大：讲义的 Adagrad 和梯度下降所需的更新次数最多是两倍和三倍。",
            ),
            shows=(
                Shown(
                    picture="rates",
                    title="梯度先小、后大、再小时，一个参数的学习率",
                    sees="梯度变成十倍时，两者的学习率都下降。梯度再变小时，RMSProp 的学习率约六十次更新就恢复，"
                    "讲义的 Adagrad 几乎不动。",
                ),
                Shown(
                    picture="crescent",
                    title="转弯的山谷：RMSProp 到达时，各方法走到哪里",
                    sees="从左端之外出发，RMSProp 沿着新月形走到 (1, 0) 处的最小值。同样的更新次数，Adagrad 只"
                    "走了一部分，因为它忘不了起点有多陡。",
                ),
            ),
        ),
        Line(
            says=Text("Adam is RMSProp with momentum.", "Adam 就是 RMSProp 加上动量。"),
            study="adaptive-rates",
            gate="gain of Adam, inputs scaled apart",
            number=Text(
                "updates of gradient descent over those of Adam, inputs scaled apart",
                "输入尺度不一时，梯度下降与 Adam 的更新次数之比",
            ),
            correction=Text(
                "Where the inputs are standardized there is little left for it to gain.",
                "输入标准化之后，它几乎没有什么可以再赚的。",
            ),
            shows=(
                Shown(
                    picture="networks",
                    title="输入尺度不一的网络，各用最好的学习率",
                    sees="RMSProp 和 Adam 用较少的更新就达到低的损失。",
                ),
            ),
        ),
        Line(
            says=Text(
                "Having arrived, Adagrad bursts out of the valley: after many small gradients σ is small, and one step "
                "is large.",
                "到达之后，Adagrad 会突然冲出山谷：经过许多很小的梯度，σ 变得很小，某一步就变得很大。",
            ),
            study="valley",
            gate="rise of the loss, Adagrad",
            number=Text("rise of the loss in a burst", "爆发时损失上升的倍数"),
            correction=Text(
                "In the lecture's form, the root of the mean. Adagrad as published takes the sum, and never bursts.",
                "这是讲义中取平均值的形式。原论文的 Adagrad 取总和，从不爆发。",
            ),
            shows=(
                Shown(
                    picture="losses",
                    title="十个数据点上的损失",
                    sees="1e-7 的损失停在到达谷底时的高度。Adagrad 到达之后，损失突然爆发再下降；加上衰减，则"
                    "缓慢下降，从不上升。",
                ),
            ),
        ),
        Line(
            says=Text(
                "It comes back by itself, as the large gradients make σ large again.",
                "它会自己回来，因为大的梯度使 σ 又变大。",
            ),
            study="adaptive-rates",
            gate="valleys on which it recovers",
            number=Text("share of valleys on which it recovers", "能够恢复的山谷比例"),
        ),
        Line(
            says=Text(
                "Learning rate decay: the nearer the goal, the smaller the rate. With it the bursts are gone.",
                "学习率衰减 (learning rate decay)：离目标越近，学习率越小。这样就不再爆发。",
            ),
            study="valley",
            gate="rise of the loss, Adagrad with decay",
            number=Text("rise of the loss", "损失上升的倍数"),
        ),
        Line(
            says=Text(
                "So in networks: as training goes on we are closer to the destination, and a falling rate ends lower.",
                "网络也是如此：训练越久离目标越近，逐渐降低学习率，最终的损失更低。",
            ),
            study="schedules",
            gate="decay over constant at the end",
            number=Text(
                "loss at the end with decay over that at a constant rate, each at its best rate",
                "各用最好的学习率时，有衰减与固定学习率的最终损失之比",
            ),
            correction=Text(
                "Where updates are noisy to the end. Where every sample can be told right, the noise vanishes by "
                "itself and the decay gains next to nothing; and a schedule wants a higher rate than a constant one.",
                "前提是更新直到最后都有噪声。如果每个样本都能分对，噪声会自行消失，衰减几乎没有收益；"
                "而且使用衰减时，起始学习率应该更高。",
            ),
            shows=(
                Shown(
                    picture="horizons",
                    title="三种训练长度下，训练结束时的损失",
                    sees="训练最长时，固定学习率高于其他所有方法。免日程方法 (schedule-free) 只训练一次，与为各个长度"
                    "专门设定的余弦日程一样低或更低；从一次稳定训练分出的衰减也是如此。",
                ),
                Shown(
                    picture="rates",
                    title="训练结束时的损失与学习率",
                    sees="每种日程都有一段好的学习率。讲义的衰减和余弦，最低点比固定学习率的更靠右，也更低。"
                    "学习率很低时，两者反而不如固定学习率。",
                ),
            ),
        ),
    ),
    summary=(
        Line(
            says=Text(
                "Momentum, a weighted sum of past gradients, decides on the direction.",
                "动量是过去梯度的加权和，决定方向。",
            ),
            study="momentum",
            gate="movement minus the weighted sum of all gradients",
            number=Text("difference between the two", "两者之差"),
        ),
        Line(
            says=Text(
                "The root mean square of the gradients knows only how long they are.",
                "梯度的均方根只考虑大小。",
            ),
            study="adaptive-rates",
            gate="step where gradients are 1,000 times smaller",
            number=Text(
                "step of a parameter whose gradients are 1,000 times smaller, over the other's",
                "梯度小 1,000 倍的参数与另一参数的步长之比",
            ),
        ),
    ),
)
