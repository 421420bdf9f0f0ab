// Dark and light, titles, keys, and the slider that lays two pictures over each other.
(function () {
  const root = document.documentElement;

  function setTheme(theme) {
    if (theme) root.dataset.theme = theme;
  }

  try { setTheme(window.localStorage.getItem("eagleray-theme")); } catch (error) { /* no storage */ }

  document.addEventListener("click", function (event) {
    if (!event.target.closest("#theme")) return;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : window.matchMedia("(prefers-color-scheme: dark)").matches;
    const theme = dark ? "light" : "dark";
    setTheme(theme);
    try { window.localStorage.setItem("eagleray-theme", theme); } catch (error) { /* no storage */ }
  });

  new MutationObserver(function () {
    const heading = document.querySelector("h1");
    const title = heading ? heading.textContent + " · eagleray" : "eagleray";
    if (document.title !== title) document.title = title;
  }).observe(document.body, { childList: true, subtree: true });

  function setShare(slider, share) {
    const value = Math.min(100, Math.max(0, share));
    slider.style.setProperty("--share", value + "%");
    slider.setAttribute("aria-valuenow", Math.round(value));
  }

  function shareAt(slider, event) {
    const box = slider.getBoundingClientRect();
    return (100 * (event.clientX - box.left)) / box.width;
  }

  document.addEventListener("pointerdown", function (event) {
    const slider = event.target.closest(".overlay");
    if (!slider) return;
    event.preventDefault();
    slider.focus();
    slider.setPointerCapture(event.pointerId);
    setShare(slider, shareAt(slider, event));
  });

  document.addEventListener("pointermove", function (event) {
    const slider = event.target.closest && event.target.closest(".overlay");
    if (slider && slider.hasPointerCapture(event.pointerId)) setShare(slider, shareAt(slider, event));
  });

  // The text field puts the cursor back a moment after each key. While a page loads, more keys have
  // come in that moment, and the next one would land before them: the browser's cursor is right.
  document.addEventListener("focusin", function (event) {
    if (event.target.matches("input.dash-input-element")) event.target.setSelectionRange = () => {};
  });

  const OTHERS = "input, textarea, select, button, a, summary, [role=combobox], [role=listbox], [role=slider]";

  // The slider of the page that obeys the arrows, wherever the focus is unless it needs them itself.
  function sliderFor(target) {
    const own = target.closest && target.closest(".overlay");
    if (own) return own;
    return target.closest && target.closest(OTHERS) ? null : document.getElementById("overlay");
  }

  document.addEventListener("keydown", function (event) {
    const plain = !(event.ctrlKey || event.metaKey || event.altKey || event.shiftKey);
    const slider = plain ? sliderFor(event.target) : null;
    if (slider) {
      const now = Number(slider.getAttribute("aria-valuenow"));
      const steps = { ArrowLeft: now - 2, ArrowRight: now + 2, Home: 0, End: 100 };
      if (event.key in steps) {
        event.preventDefault();
        setShare(slider, steps[event.key]);
        return;
      }
    }
    if (event.target.closest && event.target.closest("input, textarea, [role=combobox], [role=listbox], [role=slider]")) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      const search = document.querySelector(".controls input[type=search]");
      if (search) { event.preventDefault(); search.focus(); }
    }
    const step = { n: "#next", p: "#previous" }[event.key];
    const link = step && document.querySelector(step);
    if (link) link.click();
  });
})();
