"""Chapter 2: how many samples an update sees, and what it keeps of the last one."""

from unstuck.lecture.chapter import Chapter, Line, Shown, Text

EQUAL_UPDATES = Text(
    "At equal epochs a small batch makes many more updates. In as many updates, the whole set trains as well.",
    "轮数相同时，小批次的更新次数多得多。更新次数相同时，用全部数据训练得一样好。",
)

CHAPTER = Chapter(
    number=2,
    title=Text("Batch and momentum", "批次与动量 (batch and momentum)"),
    opens=Text(
        "How many samples should an update see, and how can it pass what stops plain gradient descent?",
        "每次更新应该看多少样本？又如何越过让普通梯度下降停住的地方？",
    ),
    lines=(
        Line(
            says=Text(
                "Thanks to parallel hardware, an update on a larger batch hardly takes longer, unless the batch is too "
                "large.",
                "由于硬件并行，较大批次的一次更新几乎不更慢，除非批次过大。",
            ),
            study="batch-time",
            gate="update on 16 samples over one on one",
            number=Text("time of an update on 16 samples over one on one", "16 个样本与 1 个样本的更新时间之比"),
            correction=Text(
                "How large is too large depends on the hardware: on a processor it may be a hundred samples.",
                "多大算过大取决于硬件：在普通处理器上可能是一百个样本。",
            ),
            shows=(
                Shown(
                    picture="update",
                    title="一次更新的时间",
                    sees="批次小的时候，一次更新的时间几乎不随批次变化；批次大的时候，时间与批次成正比。",
                ),
            ),
        ),
        Line(
            says=Text(
                "So an epoch of small batches takes longer: 60,000 updates instead of 60.",
                "因此小批次的一轮 (epoch) 更慢：要更新 60,000 次，而不是 60 次。",
            ),
            study="batch-time",
            gate="epoch of single samples over the fastest epoch",
            number=Text(
                "time of an epoch of single samples over the fastest one", "逐个样本的一轮与最快一轮的时间之比"
            ),
            shows=(
                Shown(
                    picture="epoch",
                    title="一轮 (epoch) 的时间",
                    sees="逐个样本更新时，一轮最慢；批次达到一定大小之后，时间不再缩短。",
                ),
            ),
        ),
        Line(
            says=Text(
                "Yet smaller batches reach better accuracy, in training as well: it is optimization that suffers with "
                "large ones.",
                "然而较小的批次准确率更高，训练准确率也是如此：大批次的问题出在优化上。",
            ),
            study="batch-accuracy",
            gate="training accuracy, equal epochs",
            number=Text("points of training accuracy gained, at equal epochs", "轮数相同时训练准确率高出的百分点"),
            correction=EQUAL_UPDATES,
            shows=(
                Shown(
                    picture="equal-epochs",
                    title="轮数相同时，准确率与批次大小",
                    sees="两种准确率都是小批次最高，批次接近全部数据时一起下降。",
                ),
                Shown(
                    picture="equal-updates",
                    title="同样的网络，更新次数相同时",
                    sees="更新次数相同时，大批次在训练数据和其他数据上都不落后。",
                ),
            ),
        ),
        Line(
            says=Text(
                "Noisy updates help: where the loss of one batch is stuck, that of the next one is not.",
                "带噪声的更新有帮助：在一个批次的损失上卡住时，在下一个批次上没有卡住。",
            ),
            study="batch-accuracy",
            gate="share of batches that pull at a saddle",
            number=Text(
                "share of small batches with a gradient where the whole set has none",
                "全部数据没有梯度处有梯度的小批次比例",
            ),
            shows=(
                Shown(
                    picture="leaving",
                    title="离开鞍点",
                    sees="小批次立刻被推开，早已离开；全部数据的距离每次更新按同一倍数增长，从几乎为零开始。加"
                    "上动量，这个倍数更大。",
                ),
            ),
        ),
        Line(
            says=Text(
                "Small batches do better on held-out data, too: large ones end in sharp minima, small ones in flat "
                "ones.",
                "小批次在测试数据上也更好：大批次停在尖锐最小值 (sharp minimum)，小批次停在平坦最小值 (flat minimum)。",
            ),
            study="sharp-minima",
            gate="sharpness, equal epochs",
            number=Text("sharpness of the large batch's end over the small one's", "大批次与小批次终点的尖锐程度之比"),
            correction=Text(
                "Most of that is a training that has not gone as far: at the same loss the difference is gone, and the "
                "same function can be made as sharp as one likes.",
                "这主要是训练得不够久：损失相同时差别就消失了，而且同一个函数可以变得任意尖锐。",
            ),
            shows=(
                Shown(
                    picture="line",
                    title="轮数相同时，两个终点连线上的损失",
                    sees="两个终点之间没有山。训练损失从大批次的终点 (1) 降到小批次的终点 (0)，测试损失几乎不变。",
                ),
                Shown(
                    picture="sharpness",
                    title="尖锐程度与训练损失",
                    sees="无论批次大小，几乎所有终点都在一条线上：损失越低，曲率越小。",
                ),
            ),
        ),
        Line(
            says=Text(
                "There are methods by which large batches do as well, so that hours become minutes.",
                "有一些方法能让大批次也训练得一样好，从而把几个小时缩短为几分钟。",
            ),
            study="large-batch",
            gate="share recovered by linear scaling",
            number=Text("share of the lost accuracy that a larger rate brings back", "更大的学习率挽回的准确率比例"),
            correction=Text(
                "The rate does most of it, and up to a size; layerwise methods do not beat Adam when both are tuned "
                "alike.",
                "主要靠学习率，而且只到一定的批次大小；同样调参时，逐层缩放的方法并不胜过 Adam。",
            ),
            shows=(
                Shown(
                    picture="rules",
                    title="轮数相同、批次更大时，学习率的四种调整方法",
                    sees="学习率不变时，准确率随批次增大而下降。按线性规则调整，直到批次 256 都能保持，之后训"
                    "练崩溃。平方根规则下降得晚而且少。预热在这里没有影响。",
                ),
            ),
        ),
        Line(
            says=Text(
                "The movement is the gradient's step and a part of the last movement: a weighted sum of all gradients.",
                "移动量 (movement) 是梯度的一步加上上一次移动量的一部分：也就是所有梯度的加权和。",
            ),
            study="momentum",
            gate="movement minus the weighted sum of all gradients",
            number=Text("difference between the two", "两者之差"),
            shows=(
                Shown(
                    picture="vectors",
                    title="移动量是缩短了的上一次移动，加上下坡的一步",
                    sees="每一步都是两个箭头之和：上一次移动剩下的部分，以及梯度下降会走的一步。前者很快超过后者。",
                ),
            ),
        ),
        Line(
            says=Text(
                "Momentum carries the movement over small bumps and plateaus at which gradient descent stops.",
                "动量使移动越过梯度下降会停住的小坡和平地。",
            ),
            study="momentum",
            gate="share of low bumps passed with momentum",
            number=Text("share of low bumps that are passed", "越过的小坡比例"),
            correction=Text(
                "No bump that is as high as the start is passed, and at a low rate momentum is no more than a larger "
                "rate.",
                "与起点一样高的坡越不过去；学习率很低时，动量只相当于更大的学习率。",
            ),
            shows=(
                Shown(
                    picture="bump",
                    title="下坡路上的小坡",
                    sees="两者以同样的学习率从 w = 3 出发。梯度下降停在小坡前的凹处；加上动量则滚过小坡，停在最小值。",
                ),
                Shown(
                    picture="all-bumps",
                    title="加上动量能越过哪些坡",
                    sees="低的坡能越过，高的坡不能。与起点一样高的坡都越不过去。",
                ),
            ),
        ),
    ),
    summary=(
        Line(
            says=Text(
                "Time of an epoch: longer for small batches, shorter for large ones.",
                "一轮的时间：小批次慢，大批次快。",
            ),
            study="batch-time",
            gate="epoch of single samples over the fastest epoch",
            number=Text(
                "time of an epoch of single samples over the fastest one", "逐个样本的一轮与最快一轮的时间之比"
            ),
        ),
        Line(
            says=Text("Optimization: better with small batches.", "优化：小批次更好。"),
            study="batch-accuracy",
            gate="training accuracy, equal epochs",
            number=Text("points of training accuracy gained, at equal epochs", "轮数相同时训练准确率高出的百分点"),
            correction=EQUAL_UPDATES,
        ),
        Line(
            says=Text("Generalization: better with small batches.", "泛化 (generalization)：小批次更好。"),
            study="batch-accuracy",
            gate="held-out accuracy, equal epochs",
            number=Text("points of held-out accuracy gained, at equal epochs", "轮数相同时测试准确率高出的百分点"),
            correction=EQUAL_UPDATES,
        ),
    ),
)
