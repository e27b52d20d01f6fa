"""Chapter 4: the loss that a classifier is trained on."""

from unstuck.lecture.chapter import Chapter, Line, Shown, Text

FROM_AN_ORDINARY_START = Text(
    "That is so at a start that is wrong and certain of it. From an ordinary start the squared error trains as well, "
    "in at most 2.5 times the updates.",
    "这是指从“错误而且确信”的位置出发。从普通的初始值出发，均方误差同样能训练，更新次数最多是 2.5 倍。",
)

CHAPTER = Chapter(
    number=4,
    title=Text("The loss function", "损失函数 (loss function)"),
    opens=Text(
        "Classification can be written as regression. Why is it not done so, and what does the loss have to do with "
        "optimization?",
        "分类可以写成回归。为什么不这样做？损失函数与优化又有什么关系？",
    ),
    lines=(
        Line(
            says=Text(
                "As regression to class numbers, classification presumes that class 1 is nearer to 2 than to 3.",
                "把类别编号当作回归目标，就等于假定类别 1 离 2 比离 3 近。",
            ),
            study="loss-surface",
            gate="network on class numbers",
            number=Text("held-out accuracy of a network on class numbers", "以类别编号为目标的网络的测试准确率"),
        ),
        Line(
            says=Text(
                "So each class has an output of its own, and its target is one of each: a one-hot vector.",
                "所以每个类别有自己的输出，目标是独热向量 (one-hot vector)。",
            ),
            study="loss-surface",
            gate="network on one of each",
            number=Text("held-out accuracy with one output for each class", "每类一个输出时的测试准确率"),
        ),
        Line(
            says=Text(
                "After a softmax, cross-entropy is better than the squared error. With y3 = −1000, over y1 and y2, "
                "both are low where the answer is right; where it is wrong, cross-entropy has a slope and the squared "
                "error is flat.",
                "在 softmax 之后，交叉熵 (cross-entropy) 比均方误差 (mean squared error) 好。固定 y3 = −1000，看 y1 和 "
                "y2：答案正确处两者都低；答案错误处交叉熵有坡度，均方误差却是平的。",
            ),
            study="loss-surface",
            gate="steeper at (−10, 10)",
            number=Text(
                "slope of cross-entropy over that of the squared error at (−10, 10)",
                "(−10, 10) 处交叉熵与均方误差的坡度之比",
            ),
            shows=(
                Shown(
                    picture="surfaces",
                    title="两个 logit 上的损失：左为交叉熵，右为均方误差",
                    sees="类别 1 是正确答案。从左上角（错误而且确信）出发，交叉熵使两种方法在 200 次更新内走下"
                    "来。均方误差在那里是平的：梯度下降不动，Adam 走得下来。",
                ),
                Shown(
                    picture="slopes",
                    title="两种损失有多陡",
                    sees="y1 远低于 y2 时，交叉熵保持坡度，均方误差的坡度消失。答案正确处，两者都消失。",
                ),
            ),
        ),
        Line(
            says=Text(
                "A walk that begins there on the squared error is stuck: gradient descent does not move.",
                "从那里出发，均方误差会卡住：梯度下降寸步难行。",
            ),
            study="loss-surface",
            gate="way made by the squared error",
            number=Text("way made by gradient descent", "梯度下降走过的距离"),
        ),
        Line(
            says=Text("On cross-entropy gradient descent walks out of there.", "用交叉熵，梯度下降能走出来。"),
            study="loss-surface",
            gate="updates to the right answer, cross-entropy",
            number=Text("updates to the right answer", "到达正确答案的更新次数"),
        ),
        Line(
            says=Text(
                "With a good optimizer such as Adam there is still a chance, but it begins slowly.",
                "用 Adam 这样好的优化器也许还有机会，但开头很慢。",
            ),
            study="loss-surface",
            gate="updates to the right answer, squared error with Adam",
            number=Text("updates to the right answer on the squared error", "用均方误差到达正确答案的更新次数"),
        ),
        Line(
            says=Text(
                "So in real networks: which loss is chosen decides whether training gets anywhere.",
                "真实网络也是如此：选择哪种损失，决定了训练能否进行。",
            ),
            study="loss-surface",
            gate="share of rates that arrive, squared error",
            number=Text(
                "share of learning rates at which the squared error arrives, from a saturated start",
                "从饱和的初始值出发，均方误差能到达的学习率比例",
            ),
            correction=FROM_AN_ORDINARY_START,
            shows=(
                Shown(
                    picture="trainings",
                    title="从饱和的初始值开始训练，各用最好的学习率",
                    sees="有一个 logit 一开始高 20。交叉熵上的梯度下降约十次更新就离开；softmax 之后的均方误差"
                    "不行。Adam 可以，没有 softmax 的均方误差也可以。",
                ),
            ),
        ),
    ),
    summary=(
        Line(
            says=Text(
                "Changing the loss function can change how hard the optimization is.",
                "改变损失函数，可以改变优化的难度。",
            ),
            study="loss-surface",
            gate="first gradient of cross-entropy over that of the squared error",
            number=Text(
                "first gradient of cross-entropy over that of the squared error, from a saturated start",
                "从饱和的初始值出发，交叉熵与均方误差的第一个梯度之比",
            ),
            correction=FROM_AN_ORDINARY_START,
        ),
    ),
)
