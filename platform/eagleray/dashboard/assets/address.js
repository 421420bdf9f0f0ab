// Keeps the address and the controls in step; see dashboard/app.py.
window.dash_clientside = window.dash_clientside || {};
(function () {
  let shown = null;

  function here() {
    return { path: window.location.pathname, search: window.location.search };
  }

  function isDefault(value, wanted) {
    return JSON.stringify(value ?? "") === JSON.stringify(wanted ?? "");
  }

  function searchOf(values, ids, defaults) {
    const query = new URLSearchParams(window.location.search);
    ids.forEach((id, position) => {
      const name = id.control;
      const value = values[position];
      query.delete(name);
      if (isDefault(value, defaults[name])) return;
      [].concat(value ?? "").forEach((one) => {
        if (one !== "") query.append(name, one);
      });
    });
    const text = query.toString();
    return text ? "?" + text : "";
  }

  function same(a, b) {
    const sorted = (text) => {
      const query = new URLSearchParams(text);
      query.sort();
      return query.toString();
    };
    return sorted(a) === sorted(b);
  }

  window.dash_clientside.eagleray = {
    // The browser went to another address: draw the whole page, unless we wrote the address.
    route: function () {
      const at = here();
      const text = at.path + at.search;
      if (text === shown) return window.dash_clientside.no_update;
      shown = text;
      return at;
    },

    // A control changed, or time passed: draw the content of the address anew.
    query: function (values, tick, ids, defaults) {
      const at = here();
      if (!document.getElementById("content")) return window.dash_clientside.no_update;
      const isTick = window.dash_clientside.callback_context.triggered.every((t) =>
        t.prop_id.startsWith("tick.")
      );
      if (isTick) {
        if (document.hidden) return window.dash_clientside.no_update;
        return { ...at, is_tick: true, tick: tick };
      }
      if (!defaults.length || at.path + at.search !== shown) return window.dash_clientside.no_update;
      const search = searchOf(values, ids, defaults[0]);
      if (same(search, at.search)) return window.dash_clientside.no_update;
      shown = at.path + search;
      window.history.replaceState(window.history.state, "", shown);
      window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
      return { path: at.path, search: search, is_tick: false };
    },

    // A point that stands for a run was clicked: go to the run.
    clicked: function (clicks) {
      const changed = window.dash_clientside.callback_context.triggered[0];
      const point = changed && changed.value && changed.value.points && changed.value.points[0];
      const target = point && point.customdata;
      return typeof target === "string" && target.startsWith("/run/")
        ? target
        : window.dash_clientside.no_update;
    },

    // A run was picked for comparing: those not on this page of the list stay picked.
    picked: function (values, ids, before) {
      const old = before ? before.split(",") : [];
      const visible = ids.map((id) => id.pick);
      const now = values.flatMap((value) => value || []);
      const after = old.filter((name) => !visible.includes(name) || now.includes(name));
      now.forEach((name) => { if (!after.includes(name)) after.push(name); });
      const text = after.join(",");
      return text === (before || "") ? window.dash_clientside.no_update : text;
    },
  };
})();
