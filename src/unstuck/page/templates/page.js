"use strict";

(() => {
  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const stored = (id) => JSON.parse(document.getElementById(id).textContent);

  function notify(message) {
    for (const element of document.querySelectorAll(".plot:not([data-drawn])")) element.textContent = message;
  }

  // The policy of this page knows the hash of the unpacked source, so nothing else can be run in its place.
  async function unpackLibrary() {
    const packed = atob(document.getElementById("library").textContent);
    const bytes = Uint8Array.from(packed, (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  async function draw(picture, theme) {
    const element = document.getElementById(picture.id);
    if (!element.dataset.drawn) element.textContent = "";
    const { data, layout } = structuredClone(picture); // plotly writes into what it is given
    await Plotly.react(element, data, { ...layout, template: stored("themes")[theme] }, config);
    // The summary and the tables say it in words; loose labels and numbers read aloud would not.
    for (const part of element.querySelectorAll("svg, canvas")) part.setAttribute("aria-hidden", "true");
    element.dataset.drawn = theme;
  }

  async function drawAll(pictures, theme) {
    for (const picture of pictures) {
      try {
        await draw(picture, theme);
      } catch (error) {
        console.error(picture.id, error);
        document.getElementById(picture.id).textContent = "This picture could not be drawn; its numbers are below.";
      }
    }
  }

  async function showPictures() {
    if (!document.getElementById("pictures")) return;
    if (!("DecompressionStream" in window)) {
      notify("This browser is too old to unpack the pictures (2023 and later can); their numbers are below.");
      return;
    }
    const pictures = stored("pictures");
    await unpackLibrary();
    const show = () => drawAll(pictures, dark.matches ? "dark" : "light");
    await show();
    dark.addEventListener("change", show);
    window.addEventListener("beforeprint", () => drawAll(pictures, "light"));
    window.addEventListener("afterprint", show);
  }

  // The code of a block as it should be afterwards: without headers and removed lines.
  function codeOf(block) {
    return [...block.querySelectorAll("[data-code]")].map((line) => line.textContent).join("\n");
  }

  function offerCopies() {
    if (!navigator.clipboard) return;
    for (const button of document.querySelectorAll("button.copy")) {
      const label = button.textContent;
      button.hidden = false;
      button.addEventListener("click", async () => {
        const copied = await navigator.clipboard.writeText(codeOf(button.closest(".code"))).then(
          () => "Copied",
          () => "Not allowed here",
        );
        button.textContent = copied;
        setTimeout(() => (button.textContent = label), 1500);
      });
    }
  }

  // On paper nothing can be unfolded. The numbers of the pictures, which would fill it, are left out there.
  function unfoldForPrint() {
    const folded = () => document.querySelectorAll("details:not([open], figure details)");
    let opened = [];
    window.addEventListener("beforeprint", () => {
      opened = [...folded()];
      for (const part of opened) part.open = true;
    });
    window.addEventListener("afterprint", () => {
      for (const part of opened) part.open = false;
    });
  }

  offerCopies();
  unfoldForPrint();
  showPictures().catch((error) => {
    console.error(error);
    notify("The pictures could not be unpacked; their numbers are below.");
  });
})();
