// Keys, the theme's toggle, marks that light up their post. Everything else is the server's.
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
})();
