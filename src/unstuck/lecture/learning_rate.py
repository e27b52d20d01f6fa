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
        Line(
            says=Text(
                "Warm-up: first raise the rate, then let it fall. It is a black art, without which residual networks "
                "and Transformers do not train.",
                "预热 (warm up)：先提高学习率，再降低。这是一门黑科技，没有它，残差网络 (residual network) 和 "
                "Transformer 都训练不起来。",
            ),
            study="warm-up",
            gate="gain of a warm-up, post-norm",
            number=Text(
                "fall of the loss at the end by a warm-up, in nats per letter, post-norm Transformer",
                "预热使最终损失降低的量（每个字母，nat；后置归一化的 Transformer）",
            ),
            correction=Text(
                "At rates that are large for them. At a third of the rate this Transformer needs none and ends as low, "
                "and one that normalizes before each part never does.",
                "这是指学习率对它们来说偏大的时候。学习率降到三分之一，同一个 Transformer 不用预热也一样好；"
                "前置归一化 (pre-norm) 的则从来不需要。",
            ),
            shows=(
                Shown(
                    picture="curves",
                    title="同一学习率下的 Transformer",
                    sees="没有预热时，后置归一化的 Transformer 停在只知道字母频率的损失上。有预热则学得会；"
                    "前置归一化的有没有预热都学得会。",
                ),
                Shown(
                    picture="residual",
                    title="用梯度下降训练的残差网络",
                    sees="没有预热时，曲线止于低学习率，因为再高就发散。有预热时，可以用高几倍的学习率，损失也更低。",
                ),
            ),
        ),
        Line(
            says=Text(
                "The reason may be that σ is a statistic, exact only after enough gradients, as RAdam has it.",
                "原因可能是 σ 是统计量，要看过足够多的梯度才准确；RAdam 就是这样考虑的。",
            ),
            study="warm-up",
            gate="variance of 1/σ, 5 updates over 1,000",
            number=Text(
                "variance of 1/σ after 5 updates over that after 1,000", "5 次与 1,000 次更新之后 1/σ 的方差之比"
            ),
            correction=Text(
                "The variance is so. But to learn σ first is no remedy here, and the residual network, which gradient "
                "descent trains, has no σ: the warm-up leads to where the surface is flat enough for the full rate.",
                "方差确实如此。但在这里，先学好 σ 并不能解决问题；残差网络用梯度下降训练，根本没有 σ："
                "预热把参数带到足够平、能承受全部学习率的地方。",
            ),
            shows=(
                Shown(
                    picture="spread",
                    title="1/σ 有多准确",
                    sees="1/σ 的离散程度随每次更新下降。乘上 RAdam 的 r 之后，十次更新以后几乎不再变化。",
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
        Line(
            says=Text(
                "All optimizers are one equation: θ ← θ − (η/σ)·m, with a rate, a scale and a direction.",
                "所有优化器都是同一个式子：θ ← θ − (η/σ)·m，即学习率、尺度和方向。",
            ),
            study="optimizers",
            gate="error of Adam as RMSProp with momentum",
            number=Text(
                "difference between Adam and RMSProp with momentum, corrected for its start",
                "Adam 与修正了起步的“RMSProp 加动量”之差",
            ),
        ),
        Line(
            says=Text(
                "These are improvements: with a scale for each parameter, training ends lower.",
                "这些都是改进：每个参数有自己的尺度，训练结束时损失更低。",
            ),
            study="optimizers",
            gate="Adam over gradient descent, inputs scaled apart",
            number=Text(
                "held-out loss of Adam over that of gradient descent, inputs scaled apart, equal tuning",
                "输入尺度不一、同样调参时，Adam 与梯度下降的测试损失之比",
            ),
            correction=Text(
                "Where scales differ along the parameters. On standardized inputs, tuned alike, no method is better "
                "beyond the noise; turned by a rotation, the same inputs take from Adam all that it had gained.",
                "前提是各参数方向的尺度不同。输入标准化、同样调参时，没有哪种方法的优势超出噪声；"
                "把同样的输入旋转之后，Adam 的收益就全部消失。",
            ),
            shows=(
                Shown(
                    picture="ends",
                    title="各方法与梯度下降的最终测试损失之比，以及区间",
                    sees="区间包含 1 的方法与梯度下降无法区分，不宣布胜者。种子足够多时，输入标准化则区间都包含 1；"
                    "尺度不一时，逐参数调整的方法往往更低；旋转之后又回到 1。",
                ),
                Shown(
                    picture="table",
                    title="日程结束时：更新次数、梯度次数、时间和测试损失",
                    sees="各个种子的平均值和 95 % 区间。这是每种方法自己的区间；"
                    "逐个种子成对比较，比它更能区分两种方法。",
                ),
                Shown(
                    picture="times",
                    title="代价：更新次数相同时，到日程结束所需的时间",
                    sees="除以单个参数的 σ，几乎不更费时。看整个矩阵的方法，以及要算两次梯度的 SAM，约费时两倍。",
                ),
            ),
        ),
    ),
)
