// The page of a stream: asks for news, draws it, asks again. One question at a time: who draws slowly asks less often.
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

  // Draws the charts of an answer; how many of them.
  async function draw(charts, have) {
    let drawn = 0;
    for (const [k, chart] of Object.entries(charts)) {
      const place = document.querySelector("#live-chart-" + k + " .js-plotly-plot");
      if (!place || !window.Plotly || !place._fullLayout) continue; // Plotly is not loaded yet: the next answer has it
      await window.Plotly.react(place, chart.figure.data, chart.figure.layout);
      have[k] = chart.seq;
      if (chart.seq >= 0) drawn += 1;
    }
    return drawn;
  }

  async function follow(mine, watch) {
    const have = Array(watch.series).fill("");
    const times = [];
    let since = "", total = 0;
    const here = () => mine === run && document.getElementById("live-banner");
    while (here()) {
      await seen();
      let found;
      try {
        const answer = await fetch("live/next?" + watch.query + "&since=" + since + "&have=" + have.join(","));
        if (!answer.ok) throw new Error(answer.status);
        found = await answer.json();
      } catch (_) {
        if (here()) say("The dashboard does not answer. Is forecast ui still running? Trying again.", "alarm");
        await sleep(1000);
        continue;
      }
      if (!here()) return;
      if ((found.known && !watch.known) || (found.series > 0 && !watch.series)) {
        // there is something to show now: the page is drawn anew
        window.dash_clientside.set_props("theme", { data: document.documentElement.dataset.theme });
        return;
      }
      since = found.version;
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
      },
    },
  });
})();
