// The dialog that asks for the service's token.

import { ServiceError } from "./api.js";
import { byId, setText } from "./dom.js";

/** Ask for the token; the promise rejects with a ServiceError 401 where the dialog is left. */
export function askToken(rejected) {
  const dialog = byId("token-dialog");
  const input = byId("token");
  setText(byId("token-why"), rejected ? "The service did not accept this token. Please try again." : "This service wants a token. It is in the file that token_file in its configuration names.");
  input.value = "";
  dialog.returnValue = "";
  byId("token-cancel").onclick = () => dialog.close("");
  return new Promise((resolve, reject) => {
    dialog.onclose = () => {
      const token = input.value.trim();
      input.value = "";
      if (dialog.returnValue === "given" && token) resolve(token);
      else reject(new ServiceError("The service wants a token.", 401));
    };
    dialog.showModal();
    input.focus();
  });
}
