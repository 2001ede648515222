// The page of a stream: asks for news, and draws one answer while it waits for the next. Who draws slowly asks less
// often, and gets the latest.
(function () {
  const RATE_S = 5;
  let run = 0; // a page that is left, or drawn anew, ends the loop of the one before

  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const seen = () => document.hidden
    ? new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }))
    : Promise.resolve();

  function write(id, text) {
    const node = document.getElementById("live-" + id);
    if (node && node.textContent !== text) node.textContent = text;
  }

  function say(words, tone) {
    const node = document.getElementById("live-banner");
    if (!node) return;
    if (node.textContent !== words) node.textContent = words;
    node.className = tone;
    node.hidden = !words;
  }

  const column = (traces, key) => traces.map((trace) => trace[key]);
  const alike = (a, b) => a.length === b.length && a.every((trace, k) => trace.type === b[k].type && trace.name === b[k].name);

  // Where only values are others, Plotly needs to move marks, and neither legend nor axes are made anew.
  async function put(place, figure) {
    const { data, layout } = figure;
    if (!alike(place.data, data)) {
      place.parentElement.style.height = layout.height + "px";
      await window.Plotly.react(place, data, layout);
      return;
    }
    const values = { x: column(data, "x"), y: column(data, "y"), customdata: column(data, "customdata") };
    await window.Plotly.update(place, values, { shapes: layout.shapes, annotations: layout.annotations });
  }

  // Draws the charts of an answer; how many of them.
  async function draw(charts, have) {
    let drawn = 0;
    for (const [k, chart] of Object.entries(charts)) {
      const place = document.querySelector("#live-chart-" + k + " .js-plotly-plot");
      if (!place || !window.Plotly || !place._fullLayout) { // Plotly is not loaded yet: another answer will have it
        have[k] = "";
        continue;
      }
      await put(place, chart.figure);
      drawn += chart.seq >= 0 ? 1 : 0;
    }
    return drawn;
  }

  async function follow(mine, watch) {
    const have = Array(watch.series).fill("");
    const times = [];
    let since = "", total = 0;
    const here = () => mine === run && document.getElementById("live-banner");
    const ask = async () => {
      try {
        const answer = await fetch("live/next?" + watch.query + "&since=" + since + "&have=" + have.join(","));
        return answer.ok ? await answer.json() : null;
      } catch (_) {
        return null;
      }
    };
    let next = ask();
    while (here()) {
      const found = await next;
      if (!found) {
        if (here()) say("The dashboard does not answer. Is forecast ui still running? Trying again.", "alarm");
        await sleep(1000);
        next = ask();
        continue;
      }
      if (!here()) return;
      if ((found.known && !watch.known) || (found.series > 0 && !watch.series)) {
        // there is something to show now: the page is drawn anew
        window.dash_clientside.set_props("theme", { data: document.documentElement.dataset.theme });
        return;
      }
      await seen();
      since = found.version;
      Object.entries(found.charts).forEach(([k, chart]) => { have[k] = chart.seq; });
      next = ask();
      Object.entries(found.words).forEach(([key, text]) => write(key, text));
      say(...found.banner);
      const drawn = await draw(found.charts, have);
      await frame();
      const now = performance.now() / 1000;
      for (let n = 0; n < drawn; n += 1) times.push(now);
      while (times.length && times[0] < now - RATE_S) times.shift();
      total += drawn;
      write("drawn", (times.length / RATE_S).toFixed(1));
      const host = document.getElementById("live-charts");
      if (host) host.dataset.drawn = total;
    }
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    live: {
      watch(data) {
        run += 1;
        if (data) follow(run, data);
        return window.dash_clientside.no_update;
      },
    },
  });
})();
