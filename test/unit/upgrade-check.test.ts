import { describe, expect, it } from "vitest";
import {
  checkUpgrade,
  UPGRADE_REFUSALS,
  type UpgradeRequest,
  type UpgradeRules,
} from "../../src/transport/upgrade-check.ts";

const RULES: UpgradeRules = { subprotocol: "holdfast.v1", origins: ["*"] };
const GOOD: UpgradeRequest = {
  method: "get",
  upgrade: "websocket",
  connection: "Upgrade",
  version: "13",
  key: "dGhlIHNhbXBsZSBub25jZQ==",
  protocols: "holdfast.v1",
  origin: "",
};
const SITE: UpgradeRules = { ...RULES, origins: ["https://a.example", "https://b.example:8443"] };

type Changes = Partial<UpgradeRequest>;

describe("an upgrade goes on", () => {
  it.each<[string, Changes, UpgradeRules]>([
    ["as browsers ask for it", { origin: "https://a.example" }, SITE],
    ["without Origin, from no browser", {}, SITE],
    ["with Upgrade in capitals", { upgrade: "WebSocket" }, RULES],
    ["with Upgrade in a list", { upgrade: "h2c, websocket" }, RULES],
    ["with Connection as Firefox sends it", { connection: "keep-alive, Upgrade" }, RULES],
    ["with Connection in lower case", { connection: "upgrade" }, RULES],
    ["with the subprotocol among others", { protocols: "mqtt,holdfast.v1 , x" }, RULES],
    [
      "without subprotocol where none is asked for",
      { protocols: "" },
      { ...RULES, subprotocol: null },
    ],
    ["with Origin in other case", { origin: "HTTPS://A.EXAMPLE" }, SITE],
    ["with Origin and port", { origin: "https://b.example:8443" }, SITE],
    ["with any Origin where any is allowed", { origin: "null" }, RULES],
    ["with a key whose letters are all symbols", { key: `${"+/".repeat(11)}==` }, RULES],
  ])("%s", (_what, changes, rules) => {
    expect(checkUpgrade({ ...GOOD, ...changes }, rules)).toBe(null);
  });
});

const UPGRADE = ["Upgrade", "websocket"];
const VERSION = ["Sec-WebSocket-Version", "13"];

describe("an upgrade is refused", () => {
  it.each<[string, Changes, string, string, readonly string[] | null]>([
    ["by POST", { method: "post" }, "426 Upgrade Required", "not_websocket", UPGRADE],
    ["without Upgrade", { upgrade: "" }, "426 Upgrade Required", "not_websocket", UPGRADE],
    ["to foo", { upgrade: "foo" }, "426 Upgrade Required", "not_websocket", UPGRADE],
    ["to websockets", { upgrade: "websockets" }, "426 Upgrade Required", "not_websocket", UPGRADE],
    ["without Connection", { connection: "" }, "400 Bad Request", "bad_connection", null],
    ["to keep alive", { connection: "keep-alive" }, "400 Bad Request", "bad_connection", null],
    ["row 22: version 12", { version: "12" }, "426 Upgrade Required", "bad_version", VERSION],
    ["row 22: version 14", { version: "14" }, "426 Upgrade Required", "bad_version", VERSION],
    ["row 22: no version", { version: "" }, "426 Upgrade Required", "bad_version", VERSION],
    [
      "row 22: versions in a list",
      { version: "13, 8" },
      "426 Upgrade Required",
      "bad_version",
      VERSION,
    ],
    ["row 23: no key", { key: "" }, "400 Bad Request", "bad_key", null],
    ["row 23: a short key", { key: "dGhlIHNhbXBsZQ==" }, "400 Bad Request", "bad_key", null],
    [
      "row 23: a long key",
      { key: "dGhlIHNhbXBsZSBub25jZXh4eA==" },
      "400 Bad Request",
      "bad_key",
      null,
    ],
    [
      "row 23: a key without padding",
      { key: "dGhlIHNhbXBsZSBub25jZQ" },
      "400 Bad Request",
      "bad_key",
      null,
    ],
    [
      "row 23: a key with a space",
      { key: "dGhlIHNhbXBsZSBub25j Q==" },
      "400 Bad Request",
      "bad_key",
      null,
    ],
    [
      "row 23: a key with a line break",
      { key: `${GOOD.key}\n` },
      "400 Bad Request",
      "bad_key",
      null,
    ],
    [
      "row 23: a key in URL letters",
      { key: "-_hlIHNhbXBsZSBub25jZQ==" },
      "400 Bad Request",
      "bad_key",
      null,
    ],
    ["row 25: no subprotocol", { protocols: "" }, "400 Bad Request", "bad_subprotocol", null],
    ["row 25: another one", { protocols: "mqtt" }, "400 Bad Request", "bad_subprotocol", null],
    [
      "row 25: another version",
      { protocols: "holdfast.v2" },
      "400 Bad Request",
      "bad_subprotocol",
      null,
    ],
    [
      "row 25: a longer name",
      { protocols: "holdfast.v10" },
      "400 Bad Request",
      "bad_subprotocol",
      null,
    ],
  ])("%s", (_what, changes, status, cause, header) => {
    expect(checkUpgrade({ ...GOOD, ...changes }, RULES)).toEqual({ status, cause, header });
  });

  it.each([
    "https://c.example",
    "http://a.example",
    "https://a.example:8443",
    "https://b.example",
    "https://a.example.evil.example",
    "https://evil.example/https://a.example",
    "https://a.example/",
    "https://a.example, https://c.example",
    "null",
    "*",
  ])("row 24: from %s, which is not listed", (origin) => {
    const refusal = checkUpgrade({ ...GOOD, origin }, SITE);
    expect(refusal).toEqual({ status: "403 Forbidden", cause: "bad_origin", header: null });
  });

  it("only for causes of the closed list, and each cause of it can come about", () => {
    const causes = [
      checkUpgrade({ ...GOOD, method: "post" }, RULES),
      checkUpgrade({ ...GOOD, connection: "" }, RULES),
      checkUpgrade({ ...GOOD, version: "" }, RULES),
      checkUpgrade({ ...GOOD, key: "" }, RULES),
      checkUpgrade({ ...GOOD, origin: "x" }, SITE),
      checkUpgrade({ ...GOOD, protocols: "" }, RULES),
    ].map((refusal) => refusal?.cause);
    expect(causes).toEqual([...UPGRADE_REFUSALS]);
  });
});
