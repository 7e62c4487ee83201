// Keys, the theme's toggle, marks that light up their post, sliders. Everything else is the server's.
"use strict";
(() => {
  const root = document.documentElement;
  const chosen = localStorage.getItem("mynah-theme");
  if (chosen) root.dataset.theme = chosen;

  const isNight = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const toggleTheme = () => {
    root.dataset.theme = isNight() ? "light" : "dark";
    localStorage.setItem("mynah-theme", root.dataset.theme);
  };

  const keyList = () => document.querySelector("[data-key-list]");
  const showKeys = (show) => keyList()?.toggleAttribute("hidden", !show);
  const isTyping = (el) => el && (el.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(el.tagName));

  const focusBox = () => {
    const field = document.querySelector("textarea[data-box], input[data-box], [data-box] textarea, [data-box] input");
    if (!field) return location.assign("/search");
    field.focus();
    field.select?.();
  };

  const step = (by) => {
    const cards = [...document.querySelectorAll("[data-result]")];
    if (!cards.length) return;
    const at = cards.indexOf(document.activeElement?.closest?.("[data-result]"));
    const next = cards[Math.min(cards.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "center", behavior: "smooth" });
  };

  const showRest = (show) => {
    document.querySelector("[data-rest]")?.classList.toggle("is-open", show);
    document.querySelector("[data-more]")?.setAttribute("aria-expanded", String(show));
  };

  let pendingGo = 0;
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      showKeys(false);
      showRest(false);
      if (isTyping(document.activeElement)) document.activeElement.blur();
      return;
    }
    if (event.metaKey || event.ctrlKey || event.altKey || isTyping(event.target)) return;
    if (Date.now() - pendingGo < 1500) {
      pendingGo = 0;
      const link = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    const actions = {
      "/": focusBox,
      "?": () => showKeys(keyList()?.hidden),
      g: () => { pendingGo = Date.now(); },
      j: () => step(1),
      k: () => step(-1),
      Enter: () => {
        if (!event.target.matches?.("[data-result]")) return false;
        event.target.querySelector("[data-open]")?.click();
      },
    };
    if (!Object.hasOwn(actions, event.key) || actions[event.key]() === false) return;
    event.preventDefault();
  });

  addEventListener("click", (event) => {
    const el = event.target.closest?.("[data-theme-toggle], [data-keys], [data-copy], [data-more]");
    if (el?.matches("[data-theme-toggle]")) return toggleTheme();
    if (el?.matches("[data-keys]")) return showKeys(keyList()?.hidden);
    if (el?.matches("[data-more]")) return showRest(el.getAttribute("aria-expanded") !== "true");
    if (el?.matches("[data-copy]")) {
      return navigator.clipboard?.writeText(el.dataset.copy).then(() => { el.textContent = "Copied"; });
    }
    if (!event.target.closest?.("[data-key-list]")) showKeys(false);
    showRest(false);
  });

  // A mark and its post name the same pair of turn and number.
  const light = (event, on) => {
    const mark = event.target.closest?.("[data-cites]");
    if (!mark) return;
    for (const post of document.querySelectorAll(`[data-cited="${CSS.escape(mark.dataset.cites)}"]`)) {
      post.classList.toggle("is-lit", on);
    }
  };
  for (const [name, on] of [["mouseover", true], ["mouseout", false], ["focusin", true], ["focusout", false]]) {
    addEventListener(name, (event) => light(event, on));
  }

  // Sliders walk through the stops of the field above them; a live form tells the server what is
  // typed as it changes, and the address once it stands.
  const fieldOf = (slider) => document.getElementById(slider.dataset.slides);
  const amount = (words) => {
    const found = words.replace(/[\s,_$]|USD/g, "").match(/^([-+.\deE]+?)([kmbgt]?)$/i);
    return found ? found[1] * { k: 1e3, m: 1e6, b: 1e9, g: 1e9, t: 1e12 }[found[2].toLowerCase() || 0] || +found[1] : NaN;
  };
  const settle = (slider) => {
    const [typed, stops] = [fieldOf(slider).value.trim(), JSON.parse(slider.dataset.stops)];
    const far = (stop) => Math.abs(Math.log(amount(stop) / amount(typed)));
    const known = stops.map((stop, at) => [stop && typed ? far(stop) : stop === typed ? 0 : Infinity, at]);
    const [gap, at] = known.reduce((best, one) => (one[0] < best[0] ? one : best), [Infinity, 0]);
    if (gap < Infinity) slider.value = at;
    else if (!typed && slider.dataset.restStop) slider.value = slider.dataset.restStop;
    show(slider);
  };
  const show = (slider) => {
    slider.style.setProperty("--at", `${(100 * slider.value) / slider.max}%`);
    slider.setAttribute("aria-valuetext", fieldOf(slider).value || slider.dataset.none);
  };
  const asked = (form) => [...new FormData(form)].filter(([name]) => name !== "aim")
    .map(([name, value]) => [name, value.replace(/[\s,]/g, "")]);
  const tell = (form) => form.dispatchEvent(new CustomEvent("typed", { detail: Object.fromEntries(asked(form)) }));
  const aim = (radio) => {
    const field = radio.form.elements.serve_tokens;
    field.value = radio.value === "serve" ? field.value || field.dataset.usual : "";
    radio.form.querySelectorAll("[data-slides]").forEach(settle);
  };
  let telling = 0;
  addEventListener("input", (event) => {
    const form = event.target.closest?.("[data-live]");
    if (!form) return;
    if (event.target.matches("[data-slides]")) {
      fieldOf(event.target).value = JSON.parse(event.target.dataset.stops)[event.target.value];
      show(event.target);
    } else if (event.target.name === "aim") aim(event.target);
    else form.querySelectorAll("[data-slides]").forEach(settle);
    telling ||= setTimeout(() => { telling = 0; tell(form); }, 150);
  });
  addEventListener("change", (event) => {
    const form = event.target.closest?.("[data-live]");
    if (!form) return;
    const address = `${location.pathname}?${new URLSearchParams(asked(form))}`;
    if (address !== location.pathname + location.search) history.pushState(null, "", address);
  });
  addEventListener("click", (event) => {
    const field = document.getElementById(event.target.closest?.("[data-clear]")?.dataset.clear);
    if (!field) return;
    field.value = "";
    for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
  });
  addEventListener("submit", (event) => {
    if (!event.target.matches("[data-live]")) return;
    event.preventDefault();
    document.activeElement?.blur();
  });
  addEventListener("popstate", () => { if (document.querySelector("[data-live]")) location.reload(); });
  new MutationObserver((_, observer) => {
    const sliders = document.querySelectorAll("[data-live] [data-slides]");
    if (!sliders.length) return;
    observer.disconnect();
    sliders.forEach(settle);
  }).observe(document, { childList: true, subtree: true });
})();
