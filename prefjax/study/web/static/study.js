"use strict";
// Keys A, B and N press the buttons, and a form is sent once. Everything works without this file.
document.documentElement.classList.add("has-keys");

(function () {
  const form = document.querySelector("form[data-keys]");
  let sent = false;

  for (const any of document.querySelectorAll("form")) {
    any.addEventListener("submit", function (event) {
      if (sent) {
        event.preventDefault();
        return;
      }
      sent = true;
      if (any === form) {
        form.elements.ms.value = String(Math.round(performance.now()));
      }
      // If the network fails, the person can try again; the server takes an answer once.
      setTimeout(function () { sent = false; }, 3000);
    });
  }

  // A page out of the browser's memory may show a trial that is answered.
  window.addEventListener("pageshow", function (event) {
    if (event.persisted) {
      location.reload();
    }
  });

  if (!form) {
    return;
  }
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || sent) {
      return;
    }
    const button = form.querySelector('button[data-key="' + CSS.escape(event.key.toLowerCase()) + '"]');
    if (button) {
      event.preventDefault();
      button.click();
    }
  });
})();
