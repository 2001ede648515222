// Before anything is drawn: the theme that the reader chose, else that of the system.
(function () {
  let kept = null;
  try { kept = localStorage.getItem("theme"); } catch (_) { /* storage is forbidden: follow the system */ }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = kept === "dark" || kept === "light" ? kept : dark ? "dark" : "light";
})();
