// Labels over the input: a panel per picture, classes that can be switched off, one zoom for all
// panels; and tables that are sorted by a heading. See dashboard/pages/gallery.py.
(function () {
  const LEAST_SHARE = 0.002; // of the picture: smaller segments get no name written on them

  function element(kind, options, ...children) {
    const made = Object.assign(document.createElement(kind), options);
    made.append(...children);
    return made;
  }

  function loaded(source) {
    return new Promise((done, failed) => {
      const image = new Image();
      image.onload = () => done(image);
      image.onerror = () => failed(new Error("a picture could not be loaded"));
      image.src = source;
    });
  }

  function pixels(image) {
    const canvas = element("canvas", { width: image.naturalWidth, height: image.naturalHeight });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  }

  // Segment ids of every pixel, and where each segment lies.
  function segmented(image, told) {
    const data = pixels(image);
    const ids = new Uint16Array(data.width * data.height);
    const count = told.classes.length + 1;
    const area = new Float64Array(count), x = new Float64Array(count), y = new Float64Array(count);
    for (let at = 0; at < ids.length; at++) {
      const id = data.data[4 * at] + 256 * data.data[4 * at + 1];
      ids[at] = id;
      if (id < count) { area[id]++; x[id] += at % data.width; y[id] += Math.floor(at / data.width); }
    }
    return { ids, area, x, y, told, width: data.width, height: data.height };
  }

  function painted(layer, about, hidden) {
    const canvas = element("canvas", { width: layer.width, height: layer.height });
    const context = canvas.getContext("2d"), image = context.createImageData(layer.width, layer.height);
    const table = new Uint32Array(layer.told.classes.length + 1);
    layer.told.classes.forEach((kind, index) => {
      if (hidden.has(kind)) return;
      const [red, green, blue] = about.colors[kind];
      table[index + 1] = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    });
    const out = new Uint32Array(image.data.buffer);
    const { ids, width } = layer;
    for (let at = 0; at < ids.length; at++) {
      const color = table[ids[at]];
      if (!color) continue;
      const edge = (at >= width && ids[at - width] !== ids[at]) || (at % width && ids[at - 1] !== ids[at]);
      out[at] = edge ? 0xffffffff : color;
    }
    context.putImageData(image, 0, 0);
    return canvas;
  }

  async function begin(box) {
    box.dataset.ready = "loading";
    const about = JSON.parse(box.dataset.layers);
    const names = Object.keys(about.layers);
    const [input, ...maps] = await Promise.all(
      [about.input, ...names.map((name) => about.layers[name].source)].map(loaded)
    );
    const hidden = new Set();
    const view = { scale: 1, x: 0, y: 0, opacity: 0.55, named: false };
    const panels = ["input", ...names].map((name, index) => {
      const layer = index ? segmented(maps[index - 1], about.layers[name]) : null;
      const canvas = element("canvas", { width: input.naturalWidth, height: input.naturalHeight, tabIndex: 0 });
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", name + ": wheel or + and - zoom, dragging and arrows move, 0 shows all");
      return { name, layer, canvas, paint: layer && painted(layer, about, hidden) };
    });

    function drawPanel({ layer, canvas, paint }) {
      const context = canvas.getContext("2d");
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.setTransform(view.scale, 0, 0, view.scale, view.x, view.y);
      context.imageSmoothingEnabled = true;
      context.drawImage(input, 0, 0);
      if (!layer) return;
      context.imageSmoothingEnabled = false;
      context.globalAlpha = view.opacity;
      context.drawImage(paint, 0, 0, canvas.width, canvas.height);
      context.globalAlpha = 1;
      if (view.named) writeNames(context, layer, canvas);
    }

    function writeNames(context, layer, canvas) {
      const size = Math.max(9, canvas.width / 70) / view.scale;
      Object.assign(context, { font: size + "px system-ui, sans-serif", textAlign: "center", lineWidth: size / 4 });
      layer.told.classes.forEach((kind, index) => {
        const id = index + 1, area = layer.area[id];
        if (hidden.has(kind) || area < (LEAST_SHARE * layer.ids.length) / view.scale ** 2) return;
        const x = ((layer.x[id] / area + 0.5) * canvas.width) / layer.width;
        const y = ((layer.y[id] / area + 0.5) * canvas.height) / layer.height;
        context.strokeStyle = "#000c";
        context.fillStyle = "#fff";
        context.strokeText(title(layer, id), x, y);
        context.fillText(title(layer, id), x, y);
      });
    }

    function title(layer, id) {
      const score = layer.told.scores[id - 1];
      const name = about.names[layer.told.classes[id - 1]];
      return score === undefined || score >= 1 ? name : name + " " + score.toFixed(2);
    }

    let asked = 0;
    function draw() {
      cancelAnimationFrame(asked);
      asked = requestAnimationFrame(() => panels.forEach(drawPanel));
    }

    function repaint() {
      panels.forEach((panel) => { if (panel.layer) panel.paint = painted(panel.layer, about, hidden); });
      draw();
    }

    function zoom(factor, x, y) {
      const scale = Math.min(40, Math.max(1, view.scale * factor));
      view.x = x - ((x - view.x) * scale) / view.scale;
      view.y = y - ((y - view.y) * scale) / view.scale;
      view.scale = scale;
      move(0, 0);
    }

    function move(dx, dy) {
      const inside = (value, length) => Math.min(0, Math.max(length * (1 - view.scale), value));
      view.x = inside(view.x + dx, input.naturalWidth);
      view.y = inside(view.y + dy, input.naturalHeight);
      draw();
    }

    function place(canvas, event) {
      const frame = canvas.getBoundingClientRect();
      const factor = canvas.width / frame.width;
      return [(event.clientX - frame.left) * factor, (event.clientY - frame.top) * factor, factor];
    }

    const told = element("div", { className: "told" });
    function tell(x, y) {
      const texts = panels.filter((panel) => panel.layer).map(({ name, layer, canvas }) => {
        const column = Math.floor((((x - view.x) / view.scale) * layer.width) / canvas.width);
        const row = Math.floor((((y - view.y) / view.scale) * layer.height) / canvas.height);
        const id = layer.ids[row * layer.width + column];
        return name + ": " + (id ? title(layer, id) : "nothing");
      });
      told.textContent = texts.join(", ");
    }

    panels.forEach(({ canvas }) => {
      canvas.addEventListener("wheel", (event) => {
        event.preventDefault();
        const [x, y] = place(canvas, event);
        zoom(Math.exp(-event.deltaY / 400), x, y);
      }, { passive: false });
      canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
      canvas.addEventListener("pointermove", (event) => {
        const [x, y, factor] = place(canvas, event);
        if (canvas.hasPointerCapture(event.pointerId)) move(event.movementX * factor, event.movementY * factor);
        tell(x, y);
      });
      canvas.addEventListener("dblclick", () => { view.scale = 1; move(0, 0); });
      canvas.addEventListener("keydown", (event) => {
        const step = canvas.width / 10, middle = [canvas.width / 2, canvas.height / 2];
        const keys = {
          "+": () => zoom(1.5, ...middle), "-": () => zoom(1 / 1.5, ...middle),
          "0": () => { view.scale = 1; move(0, 0); },
          ArrowLeft: () => move(step, 0), ArrowRight: () => move(-step, 0),
          ArrowUp: () => move(0, step), ArrowDown: () => move(0, -step),
        };
        if (!(event.key in keys)) return;
        event.preventDefault();
        event.stopPropagation();
        keys[event.key]();
      });
    });

    const boxes = new Map();
    const counts = (kind) => panels.filter((p) => p.layer).map(
      ({ layer }) => layer.told.classes.filter((one, index) => one === kind && layer.area[index + 1]).length
    );
    const order = about.names.map((name, kind) => [kind, counts(kind)]).filter(([, found]) => found.some((n) => n));
    const rows = order.map(([kind, found]) => {
      const check = element("input", { type: "checkbox", checked: true });
      boxes.set(kind, check);
      check.addEventListener("change", () => {
        if (check.checked) hidden.delete(kind); else hidden.add(kind);
        repaint();
      });
      const key = element("span", { className: "key" });
      key.style.background = "rgb(" + about.colors[kind].join(",") + ")";
      const count = element("span", { className: "count", textContent: found.join(" / "), title: names.join(" / ") });
      return element("label", {}, check, key, about.names[kind], count);
    });
    function all(checked) {
      boxes.forEach((check, kind) => {
        check.checked = checked;
        if (checked) hidden.delete(kind); else hidden.add(kind);
      });
      repaint();
    }
    const opacity = element("input", { type: "range", min: 0, max: 1, step: 0.05, value: view.opacity });
    opacity.setAttribute("aria-label", "Opacity");
    opacity.addEventListener("input", () => { view.opacity = Number(opacity.value); draw(); });
    const named = element("input", { type: "checkbox" });
    named.addEventListener("change", () => { view.named = named.checked; draw(); });
    const button = (text, act) => {
      const made = element("button", { className: "action", textContent: text });
      made.addEventListener("click", act);
      return made;
    };
    const bar = element("div", { className: "bar" },
      button("all", () => all(true)), button("none", () => all(false)),
      button("whole picture", () => { view.scale = 1; move(0, 0); }));
    const legend = element("div", { className: "labeled-legend" },
      element("label", {}, "opacity", opacity), element("label", {}, named, "names and scores"), bar, ...rows);
    const figures = panels.map(({ name, canvas }) =>
      element("figure", {}, canvas, element("figcaption", { textContent: name })));
    box.replaceChildren(element("div", {}, element("div", { className: "labeled-panels" }, ...figures), told), legend);
    panels.forEach(drawPanel);
    box.dataset.ready = "yes";
  }

  new MutationObserver(function () {
    document.querySelectorAll(".labeled:not([data-ready])").forEach((box) =>
      begin(box).catch((error) => { box.textContent = error.message; }));
  }).observe(document.body, { childList: true, subtree: true });

  document.addEventListener("click", function (event) {
    const button = event.target.closest && event.target.closest("button.order");
    if (!button) return;
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const at = [...head.parentNode.children].indexOf(head);
    const isDown = head.getAttribute("aria-sort") === "descending" ||
      (!head.hasAttribute("aria-sort") && !head.classList.contains("number"));
    const text = (row) => row.children[at].innerText.trim();
    const value = (row) => (text(row) === "" ? null : isNaN(Number(text(row))) ? text(row) : Number(text(row)));
    const rows = [...body.rows].sort((a, b) => {
      const [first, second] = [value(a), value(b)];
      if (first === null || second === null) return (first === null) - (second === null);
      const less = typeof first === "number" && typeof second === "number"
        ? first - second : String(first).localeCompare(String(second));
      return isDown ? less : -less;
    });
    [...head.parentNode.children].forEach((one) => one.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", isDown ? "ascending" : "descending");
    rows.forEach((row) => body.append(row));
  });
})();
