"""Chapter 5: instead of a better walker, another surface."""

from unstuck.lecture.chapter import Chapter, Line, Shown, Text

CHAPTER = Chapter(
    number=5,
    title=Text("Normalization", "归一化 (normalization)"),
    opens=Text(
        "Instead of walking better on a rugged surface: can it be made smooth?",
        "与其在崎岖的曲面上改进走法，能不能直接把山铲平？",
    ),
    lines=(
        Line(
            says=Text(
                "A weight on a feature with small values changes the loss little, one on a feature with large values "
                "much: the surface is gentle in one direction and steep in the other.",
                "数值小的特征 (feature)，其权重对损失影响小；数值大的特征影响大：曲面一个方向平、另一个方向陡。",
            ),
            study="feature-normalization",
            gate="updates with one feature ten times as wide",
            number=Text(
                "updates needed with one feature ten times as wide, over those with equal ones",
                "一个特征宽十倍时与特征等宽时的更新次数之比",
            ),
            shows=(
                Shown(
                    picture="raw",
                    title="一个特征比另一个宽十倍",
                    sees="山谷沿 w2 陡，沿 w1 平：从一壁走到另一壁，慢慢爬行。",
                ),
                Shown(
                    picture="normalized",
                    title="两个特征都归一化",
                    sees="同样的问题，两个特征相同：等高线几乎是圆，几步就直接走到最小值。",
                ),
            ),
        ),
        Line(
            says=Text(
                "Feature normalization, (x − mean)/deviation in each dimension, lets gradient descent converge faster.",
                "特征归一化 (feature normalization)，即每一维减去均值再除以标准差，使梯度下降收敛得更快。",
            ),
            study="feature-normalization",
            gate="updates for digits in unequal units, best rates",
            number=Text(
                "updates in unequal units over those after it, each at its best rate",
                "各用最好的学习率时，单位不一与归一化之后的更新次数之比",
            ),
            correction=Text(
                "Where all features share a unit, taking the mean away does all of it; and a mean far from zero does "
                "more harm than unequal units.",
                "各特征单位相同时，减去均值就够了；而均值远离零比单位不一的危害更大。",
            ),
            shows=(
                Shown(
                    picture="losses",
                    title="手写数字的线性分类器，各用最好的学习率",
                    sees="标准化或减去均值之后，立刻学会。原样或单位不一时，需要多倍的更新；平移 100 之后，几"
                    "千次更新也不够。",
                ),
            ),
        ),
        Line(
            says=Text(
                "What a hidden layer gives is the next one's features, so it should be normalized as well; before or "
                "after the activation makes little difference.",
                "隐藏层的输出就是下一层的特征，所以也应该归一化；放在激活函数 (activation) 之前或之后差别不大。",
            ),
            study="batch-normalization",
            gate="after the activation over before",
            number=Text("points of held-out accuracy gained by placing it after", "放在之后所提高的测试准确率百分点"),
            shows=(
                Shown(
                    picture="losses",
                    title="训练，各用最好的学习率",
                    sees="在激活函数之前或之后做批归一化，损失都下降得更早、更低。没有它，sigmoid 网络根本学不会。",
                ),
                Shown(
                    picture="rates",
                    title="用哪些学习率能学会",
                    sees="有批归一化时，几乎所有学习率都能达到 90 % 以上；没有时只有一两个。",
                ),
            ),
        ),
        Line(
            says=Text(
                "Then the samples depend on each other: the network has become one large function of many samples, of "
                "which a batch is taken.",
                "这样各个样本就互相关联：网络变成了一个以许多样本为输入的大函数，实际上每次只取一个批次。",
            ),
            study="batch-normalization",
            gate="coupling of samples in training",
            number=Text("change of one sample's output by another sample", "一个样本的输出受另一个样本影响的程度"),
        ),
        Line(
            says=Text(
                "So the batch has to be large enough to stand for all samples.",
                "所以批次要足够大，才能代表全部样本。",
            ),
            study="batch-normalization",
            gate="loss over that without normalization, batches of 32",
            number=Text(
                "loss in batches of 32 over that without normalization", "批次为 32 时的损失与不归一化的损失之比"
            ),
            correction=Text(
                "Large enough is not much, but large is not enough: in batches of 2 it does harm, and in batches of "
                "one class it fails at any size.",
                "不需要很大，但光是大还不够：批次为 2 时有害；如果每个批次只有一个类别，无论多大都会失败。",
            ),
            shows=(
                Shown(
                    picture="sizes",
                    title="不同大小的批次，更新次数相同",
                    sees="批次为 32 和 8 时，有批归一化的损失更低；批次为 2 时，没有它更低。",
                ),
                Shown(
                    picture="classes",
                    title="每个批次只有一个类别",
                    sees="打乱之后，错误率都只有百分之几。用单一类别的批次训练，批归一化在测试时几乎全错，层归"
                    "一化则不会。",
                ),
            ),
        ),
        Line(
            says=Text(
                "γ and β, which begin at 1 and 0, give a layer another mean and deviation where it needs them.",
                "γ 和 β 从 1 和 0 开始；需要时，网络可以用它们恢复别的均值和标准差。",
            ),
            study="batch-normalization",
            gate="error of the formulas",
            number=Text("difference from the values themselves where they are chosen so", "选成原来的值时与原值之差"),
            correction=Text(
                "They can; here it changes the accuracy by less than two points.",
                "可以恢复，但在这里对准确率的影响不到两个百分点。",
            ),
        ),
        Line(
            says=Text(
                "In testing there is no batch to wait for: moving averages from training take its place.",
                "测试时不能等凑满一个批次：用训练时的移动平均 (moving average) 代替。",
            ),
            study="batch-normalization",
            gate="loss in testing over training, at the end",
            number=Text("loss in testing over that in training", "测试模式与训练模式的损失之比"),
            correction=Text(
                "They need updates before they are right: early in training the loss in testing is the higher one.",
                "移动平均需要一些更新才准确：训练初期，测试模式的损失更高。",
            ),
        ),
        Line(
            says=Text(
                "The paper's figure: with batch normalization the same accuracy is reached in far fewer updates.",
                "论文的图：用批归一化，达到同样的准确率所需的更新次数少得多。",
            ),
            study="batch-normalization-cnn",
            gate="updates of plain over BN, same rate",
            number=Text(
                "updates of a plain convolutional network over those with it, at the same rate",
                "学习率相同时，普通卷积网络与使用批归一化的更新次数之比",
            ),
            correction=Text(
                "A careful start, He's, saves nearly half of the plain network's updates or more, without it.",
                "谨慎的初始化 (He) 不用批归一化，也能省去普通网络近一半或更多的更新。",
            ),
            shows=(
                Shown(
                    picture="steps-to-match",
                    title="测试准确率，以及追上普通网络的时刻",
                    sees="虚线是普通网络最终的准确率；用批归一化，只要一小部分更新就达到（菱形）。"
                    "用 sigmoid 而没有批归一化，什么也学不会。",
                ),
                Shown(
                    picture="table",
                    title="追上普通网络所需的更新，与论文的数值并列",
                    sees="我们的：更新次数的中位数，最高测试准确率的平均 (%)。论文的：在 ImageNet 上达到 72.2 % 所需的"
                    "百万次更新，以及最高准确率 (%)（Ioffe 与 Szegedy 2015，图 3）。",
                ),
            ),
        ),
        Line(
            says=Text(
                "A network with sigmoids hardly trains without it, and does with it.",
                "用 sigmoid 的网络，没有它很难训练，有它就能训练。",
            ),
            study="batch-normalization-cnn",
            gate="highest accuracy of BN ×5 with sigmoid",
            number=Text("highest held-out accuracy with it, in per cent", "使用它时的最高测试准确率 (%)"),
            correction=Text(
                "From a careful start it trains without as well.",
                "初始化得当时，没有它也能训练。",
            ),
        ),
        Line(
            says=Text(
                "The rate may be thirty times as large: the surface is smoother.",
                "学习率可以大三十倍：曲面更平滑了。",
            ),
            study="batch-normalization-cnn",
            gate="gain of BN ×30 in highest accuracy",
            number=Text(
                "points of held-out accuracy at thirty times the rate, over the plain network at the base rate",
                "三十倍学习率时，比普通网络高出的测试准确率百分点",
            ),
            correction=Text(
                "It may, but five times is faster, and at the base rate nearly all updates are saved already.",
                "可以，但五倍更快，而且用原来的学习率就已经省去了几乎所有更新。",
            ),
        ),
        Line(
            says=Text(
                "It was said to lessen internal covariate shift: while one layer learns, the layers before it change "
                "what it is given. That is not why it helps.",
                "曾有人说它减轻了内部协变量偏移 (internal covariate shift)：某一层学习时，前面的层改变了它的输入。"
                "这并不是它有效的原因。",
            ),
            study="covariate-shift",
            gate="covariate shift with over without, rate 0.05",
            number=Text(
                "change of a layer's gradient by the update of those before it, with over without normalization",
                "前面各层的更新使一层梯度改变的程度，有归一化与没有之比",
            ),
            correction=Text(
                "In a deep network, where it helps. In six layers it does halve that shift, and helps nothing.",
                "这是在深层网络里，也正是它有效的地方。在六层的网络里，它确实把偏移减半，却没有帮助。",
            ),
            shows=(
                Shown(
                    picture="shift",
                    title="内部协变量偏移",
                    sees="在十六层的网络里，有批归一化时偏移一样大，起初还更大；在六层的网络里更小。",
                ),
            ),
        ),
        Line(
            says=Text(
                "It changes the landscape of the surface, so that the gradient can be relied on.",
                "它改变了误差曲面的地貌，使梯度更可靠。",
            ),
            study="covariate-shift",
            gate="gradient change without over with, rate 0.05",
            number=Text(
                "change of the gradient along it, without over with normalization",
                "沿梯度方向前进时梯度的变化，没有归一化与有之比",
            ),
            correction=Text(
                "Farther along the gradient than one step: at one step the two hardly differ.",
                "这是指走得比一步更远的时候；只走一步时，两者几乎没有差别。",
            ),
            shows=(
                Shown(
                    picture="along",
                    title="沿梯度走得越远，梯度变了多少",
                    sees="走一步之后，两者的梯度变化差不多；再往前走，只有没有归一化的还在继续变化。",
                ),
            ),
        ),
        Line(
            says=Text(
                "It may have been found by chance, as penicillin was: others do as well.",
                "它也许像青霉素一样是意外的发现：别的方法也同样有效。",
            ),
            study="covariate-shift",
            gate="loss with l2 over without",
            number=Text(
                "loss with a normalization by the ℓ2 norm over that without any",
                "用 ℓ2 范数归一化与不归一化的损失之比",
            ),
            shows=(
                Shown(
                    picture="training",
                    title="用各种归一化训练",
                    sees="批归一化、ℓ1 和 ℓ2 学得最快；加噪声的批归一化较慢，但胜过普通网络；"
                    "加噪声的普通网络几乎学不会。",
                ),
            ),
        ),
        Line(
            says=Text(
                "There are other normalizations: batch renormalization, layer, instance, group, weight and spectrum "
                "normalization.",
                "还有许多归一化：batch renormalization、layer、instance、group、weight 和 spectrum normalization。",
            ),
            study="normalizations",
            gate="batch normalization's error over that of group normalization, batches of one class",
            number=Text(
                "points of error that group normalization saves where each batch is of one class",
                "每个批次只有一个类别时，group normalization 减少的错误率百分点",
            ),
            correction=Text(
                "Most of them do not depend on the batch. But in fair batches of 8 and 32, batch normalization is the "
                "best of them here, and in batches of 2 it only loses its lead.",
                "它们大多不依赖批次。但在这里，批次打乱且大小为 8 和 32 时，批归一化最好；为 2 时也只是失去领先。",
            ),
            shows=(
                Shown(
                    picture="sizes",
                    title="轮数相同时，错误率与批次大小",
                    sees="批次为 2 时批归一化的错误率上升；layer 和 group normalization 继续下降；instance 始终最差。",
                ),
                Shown(
                    picture="classes",
                    title="每个批次只有一个类别",
                    sees="用单一类别的批次训练，批归一化几乎全错，renormalization 错约三分之一，"
                    "layer、group 和不归一化都只错百分之几。打乱之后，全都只错百分之几。",
                ),
            ),
        ),
    ),
    summary=(
        Line(
            says=Text(
                "With normalization the surface is easier to walk on: learning is faster, and at more rates.",
                "归一化使曲面更好走：学得更快，能用的学习率也更多。",
            ),
            study="batch-normalization",
            gate="more rates at which it learns",
            number=Text("more rates at which it learns, of seven", "七个学习率中多出几个可用"),
        ),
    ),
)
