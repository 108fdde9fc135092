// What a report's page does while the pointer is over a chart: the same moment is marked in every
// chart of the same run, and legends show its figures. A page has one run, or one in each section.
// Without it the page is complete.

export const REPORT_SCRIPT: string = `
(() => {
  const short = (value) => Number(value.toPrecision(3)).toString();
  const write = {
    count: (value) => Math.round(value).toLocaleString("en-US"),
    ms: (value) => (value < 1000 ? short(value) + " ms" : short(value / 1000) + " s"),
    share: (value) => short(value * 100) + "%",
    cores: (value) => value.toFixed(2) + " cores",
    bytes: (value) => {
      const units = ["B", "KiB", "MiB", "GiB", "TiB"];
      let unit = 0;
      for (; value >= 1000 && unit < 4; unit++) value /= 1024;
      return short(value) + " " + units[unit];
    },
  };
  const clock = (ms) => {
    const seconds = Math.round(ms / 1000);
    const two = (part) => String(part).padStart(2, "0");
    return Math.floor(seconds / 60) + ":" + two(seconds % 60);
  };
  const number = (chart, name) => Number(chart.dataset[name]);
  const bind = (series, part) => {
    const charts = [...part.querySelectorAll("svg[data-from]")];
    const slots = [...part.querySelectorAll("b[data-key]")];
    const nearest = (ms) => {
      let low = 0;
      let high = series.atMs.length - 1;
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (series.atMs[middle] < ms) low = middle;
        else high = middle;
      }
      return Math.abs(series.atMs[low] - ms) <= Math.abs(series.atMs[high] - ms) ? low : high;
    };
    const show = (index) => {
      const ms = series.atMs[index];
      for (const chart of charts) {
        const [from, to] = [number(chart, "from"), number(chart, "to")];
        const [left, right] = [number(chart, "left"), number(chart, "right")];
        const cursor = chart.querySelector(".cursor");
        const x = left + ((right - left) * (ms - from)) / (to - from);
        cursor.setAttribute("transform", "translate(" + x + " 0)");
        cursor.style.visibility = "visible";
        cursor.querySelector("text").textContent = clock(ms);
      }
      for (const slot of slots) {
        const value = series.figures[slot.dataset.key][index];
        slot.textContent = value === null ? "-" : write[slot.dataset.unit](value);
      }
    };
    const hide = () => {
      for (const chart of charts) chart.querySelector(".cursor").style.visibility = "hidden";
      for (const slot of slots) slot.textContent = "";
    };
    for (const chart of charts) {
      chart.addEventListener("pointermove", (event) => {
        const box = chart.getBoundingClientRect();
        const x = ((event.clientX - box.left) / box.width) * number(chart, "width");
        const [left, right] = [number(chart, "left"), number(chart, "right")];
        const share = (x - left) / (right - left);
        const [from, to] = [number(chart, "from"), number(chart, "to")];
        show(nearest(from + share * (to - from)));
      });
      chart.addEventListener("pointerleave", hide);
    }
  };
  for (const element of document.querySelectorAll("script.series")) {
    bind(JSON.parse(element.textContent), element.closest("section") ?? document);
  }
})();
`;
