// What the browser does by itself: controls write into the address, the theme, copying, the focus of a new page.
(function () {
  const none = () => window.dash_clientside.no_update;
  const root = document.documentElement;
  let last = null; // the path whose heading had the focus

  function put(query, key, values) {
    query.delete(key);
    values.forEach((value) => query.append(key, value));
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    page: {
      // The address with what controls hold. A control that holds what the address (or its default) says changes nothing.
      write(values, places, ids, search, slides, lists) {
        const query = new URLSearchParams(location.search); // the explorer moves on without telling Dash
        let changed = false;
        const set = (key, held, drops) => {
          if (JSON.stringify(query.getAll(key)) === JSON.stringify(held)) return;
          put(query, key, held);
          drops.forEach((drop) => drop && query.delete(drop));
          changed = true;
        };
        ids.forEach((id, k) => {
          const value = values[k];
          const held = (Array.isArray(value) ? value : [value]).filter((v) => v !== null && v !== undefined && v !== "").map(String);
          if (!query.has(id.key) && held.length <= 1 && (held[0] || "") === id.other) return;
          set(id.key, held, id.drops.split(","));
        });
        slides.forEach((id, k) => {
          const list = lists[k] || [];
          if (!list.length || (!query.has(id.key) && places[k] === list.length - 1)) return;
          if (query.has(id.key) && !list.includes(query.get(id.key)) && places[k] === list.length - 1) return;
          set(id.key, [String(list[places[k]])], []);
        });
        const text = query.toString();
        return changed ? (text ? "?" + text : "") : none();
      },
      theme(clicks) {
        let theme = root.dataset.theme;
        if (clicks) {
          theme = theme === "dark" ? "light" : "dark";
          root.dataset.theme = theme;
          try { localStorage.setItem("theme", theme); } catch (_) { /* it holds until the page is left */ }
        }
        return [theme, theme === "dark" ? "Light" : "Dark"];
      },
      arrive(_, path) {
        const title = document.querySelector("#content h1");
        if (title) document.title = title.textContent + " · forecast";
        if (last !== null && last !== path) {
          window.scrollTo(0, 0);
          document.getElementById("content").focus({ preventScroll: true });
        }
        last = path;
        return none();
      },
    },
  });

  // Elements that Dash need not know of (dashboards/app/light.py): [tag, attributes, children], texts as they are.
  const ALLOWED = /^(class|title|scope|href|style|role|colspan|rowspan|tabindex|data-in|value|max|min|target|rel|aria-[a-z]+)$/;
  function built(part) {
    if (typeof part === "string") return document.createTextNode(part);
    const [tag, attributes, children] = part;
    const made = tag ? document.createElement(tag) : document.createDocumentFragment();
    Object.entries(attributes).forEach(([name, value]) => {
      if (!ALLOWED.test(name) || (name === "href" && !/^(\/|\?|#|https?:\/\/)/.test(value))) return;
      if (name === "style") made.style.cssText = value;
      else made.setAttribute(name, value);
    });
    children.forEach((child) => made.appendChild(built(child)));
    return made;
  }
  const drawn = new WeakMap(); // what an element has been built from
  function build() {
    document.querySelectorAll("[data-light]").forEach((place) => {
      const text = place.dataset.light;
      if (drawn.get(place) === text) return;
      drawn.set(place, text);
      place.replaceChildren(built(JSON.parse(text)));
    });
  }
  // Their links go from page to page as Dash's do, without a new document.
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a[data-in]");
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    history.pushState({}, "", link.getAttribute("href"));
    window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
  });

  function named(control) {
    const label = control.querySelector("span");
    if (!label.id) label.id = "label-" + (names += 1);
    return label.id;
  }

  // Dash's list to choose from gives the focus to an input that is hidden from screen readers, and its button the name
  // of what is chosen only. Here the button takes the focus, and is named by its label too.
  let names = 0;
  function mend() {
    build();
    document.querySelectorAll(".control .dash-dropdown-focus-target").forEach((hidden) => {
      const control = hidden.closest(".control");
      const button = control.querySelector("button.dash-dropdown");
      if (!button || hidden.tabIndex === -1) return;
      hidden.tabIndex = -1;
      button.tabIndex = 0;
      button.setAttribute("aria-labelledby", named(control) + " " + (button.getAttribute("aria-labelledby") || ""));
    });
    document.querySelectorAll(".control [role=slider]:not([aria-labelledby])").forEach((thumb) => {
      const control = thumb.closest(".control");
      thumb.setAttribute("aria-labelledby", named(control));
      thumb.setAttribute("aria-valuetext", control.querySelector("output").textContent);
    });
  }
  new MutationObserver(mend).observe(root, { childList: true, subtree: true, attributeFilter: ["data-light"] });

  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("[data-copy]");
    if (!button) return;
    navigator.clipboard.writeText(button.dataset.copy).then(
      () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); },
      () => { button.textContent = "Press Ctrl-C"; getSelection().selectAllChildren(button.parentNode.querySelector("pre")); },
    );
  });
})();
