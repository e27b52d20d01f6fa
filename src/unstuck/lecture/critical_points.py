"""Chapter 1: when the gradient is nearly zero."""

from unstuck.lecture.chapter import Chapter, Line, Text

CHAPTER = Chapter(
    number=1,
    title=Text("Critical points", "临界点 (critical point)"),
    opens=Text(
        "The loss no longer falls. Is it a local minimum, from which there is no way, or a saddle point, from which "
        "there is one?",
        "损失不再下降。这是无路可走的局部最小值 (local minimum)，还是仍有出路的鞍点 (saddle point)？",
    ),
    lines=(
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
                "Half of the directions are flat rather than downhill, and a global minimum may have the same ratio.",
                "这一半的方向其实是平的，而不是向下的；全局最小值的比例也可以是一半。",
            ),
        ),
    ),
    summary=(),
)
