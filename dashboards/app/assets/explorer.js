// The explorer: a moved cutoff is written into the address without drawing the page anew.
window.dash_clientside = Object.assign({}, window.dash_clientside, {
  explorer: {
    write(search) {
      if (search) history.replaceState(history.state, "", location.pathname + search);
    },
    step(back, on, place, last) {
      const none = window.dash_clientside.no_update;
      const asked = window.dash_clientside.callback_context.triggered[0];
      if (!asked || !asked.value) return none;
      const next = place + (asked.prop_id.startsWith("explorer-on") ? 1 : -1);
      return next < 0 || next > last ? none : next;
    },
    // A page that is drawn anew for another reason is drawn at the cutoff that the address names by now.
    settle(_, search) {
      const own = location.pathname === "/explorer" && location.search !== (search || "");
      return own ? location.search : window.dash_clientside.no_update;
    },
  },
});
