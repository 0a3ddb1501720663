// The outbound guard's judgement: hostile addresses in every spelling, and what may pass.

import { describe, expect, test } from "bun:test";
import {
  canonicalAddress,
  isBlock,
  isInside,
  isPublicUnicast,
  isWithin,
  parseAddress,
  parseNetwork,
} from "../../src/lib/guard/address.ts";
import { judgeAddresses, judgeUrl, normalHost, parseExceptions } from "../../src/lib/guard/index.ts";

const none = parseExceptions([]).exceptions;

/** How the guard judges a URL whose name was found at `addresses`; null when it passes. */
function refusedFor(url: string, addresses: string[] = ["93.184.216.34"], exceptions = none, own: string[] = []) {
  const target = judgeUrl(url, exceptions);
  if ("refused" in target) return target.refused;
  const verdict = judgeAddresses(target.host, target.isAddress ? [target.host] : addresses, exceptions, own);
  return "refused" in verdict ? verdict.refused : null;
}

describe("outbound guard", () => {
  const hostile: [string, ...string[]][] = [
    ["loopback", "http://127.0.0.1/", "http://127.255.255.254/", "http://127.1/", "http://127.0.1/"],
    ["decimal", "http://2130706433/", "http://3232235521/", "http://2852039166/", "http://167772161/"],
    ["octal", "http://0177.0.0.1/", "http://0300.0250.0.1/", "http://017700000001/", "http://00000000177.0.0.1/"],
    ["hex", "http://0x7f.1/", "http://0x7f000001/", "http://0xA9.0xFE.0xA9.0xFE/", "http://0xa9fea9fe/"],
    ["mixed bases", "http://0x7f.0.0.01/", "http://10.0x1/", "http://192.0250.1/"],
    ["final dots", "http://127.0.0.1./", "http://10.0.0.1./", "http://169.254.169.254./"],
    [
      "full-width and other digits",
      "http://１２７.0.0.1/",
      "http://①②⑦.⓪.⓪.①/",
      "http://10。0。0。1/",
      "http://𝟏𝟎.0.0.1/",
    ],
    ["escapes", "http://%31%30.0.0.1/", "http://127%2e0%2e0%2e1/", "http://%6d%65tadata.google.internal/"],
    [
      "this network and private",
      "http://0.0.0.0/",
      "http://0/",
      "http://0.1.2.3/",
      "http://10.0.0.1/",
      "http://10.255.255.255/",
    ],
    ["more private", "http://172.16.0.1/", "http://172.31.255.255/", "http://192.168.0.1/", "http://192.168.255.255/"],
    [
      "shared and link-local",
      "http://100.64.0.1/",
      "http://100.127.255.255/",
      "http://169.254.0.1/",
      "http://169.254.169.254/",
    ],
    [
      "protocol and documentation",
      "http://192.0.0.1/",
      "http://192.0.0.192/",
      "http://192.0.2.1/",
      "http://198.51.100.9/",
    ],
    [
      "more documentation",
      "http://203.0.113.7/",
      "http://192.88.99.1/",
      "http://198.18.0.1/",
      "http://198.19.255.255/",
    ],
    [
      "multicast and above",
      "http://224.0.0.1/",
      "http://239.255.255.255/",
      "http://240.0.0.1/",
      "http://255.255.255.255/",
    ],
    ["platform addresses", "http://100.100.100.200/", "http://168.63.129.16/", "http://[fd00:ec2::254]/"],
    ["IPv6 loopback and none", "http://[::1]/", "http://[0:0:0:0:0:0:0:1]/", "http://[::]/", "http://[0000::0001]/"],
    [
      "IPv6 local",
      "http://[fc00::1]/",
      "http://[fdff:ffff::1]/",
      "http://[fe80::1]/",
      "http://[febf::1]/",
      "http://[fec0::1]/",
    ],
    [
      "IPv6 multicast and discard",
      "http://[ff02::1]/",
      "http://[ff00::]/",
      "http://[100::1]/",
      "http://[100::ffff:1]/",
    ],
    [
      "IPv6 documentation and Teredo",
      "http://[2001:db8::1]/",
      "http://[2001::1]/",
      "http://[2001:0:53aa::1]/",
      "http://[3fff::1]/",
    ],
    ["IPv6 protocol assignments", "http://[2001:2::1]/", "http://[2001:10::1]/", "http://[2001:2f::1]/"],
    [
      "IPv4-mapped",
      "http://[::ffff:10.0.0.1]/",
      "http://[::ffff:7f00:1]/",
      "http://[::FFFF:169.254.169.254]/",
      "http://[0:0:0:0:0:ffff:c0a8:1]/",
    ],
    ["IPv4-compatible", "http://[::127.0.0.1]/", "http://[::a00:1]/", "http://[::8.8.8.8]/"],
    [
      "NAT64",
      "http://[64:ff9b::10.0.0.1]/",
      "http://[64:ff9b::7f00:1]/",
      "http://[64:ff9b::a9fe:a9fe]/",
      "http://[64:ff9b:1::1]/",
    ],
    [
      "6to4",
      "http://[2002:a00:1::]/",
      "http://[2002:7f00:1::1]/",
      "http://[2002:c0a8:101::1]/",
      "http://[2002:a9fe:a9fe::]/",
    ],
    ["outside of what is assigned", "http://[4000::1]/", "http://[5f00::1]/", "http://[::2]/", "http://[1::]/"],
    [
      "user info",
      "http://user@example.com/",
      "http://user:pass@example.com/",
      "http://:pass@example.com/",
      "http://example.com@10.0.0.1/",
      "http://a@b@example.com/",
    ],
    [
      "ports",
      "http://example.com:0/",
      "http://example.com:22/",
      "http://example.com:25/",
      "https://example.com:1023/",
      "http://example.com:81/",
      "https://example.com:444/",
    ],
    [
      "schemes",
      "ftp://example.com/",
      "file:///etc/passwd",
      "gopher://example.com/",
      "data:text/plain,x",
      "javascript:alert(1)",
      "ws://example.com/",
      "blob:http://example.com/x",
      "jar:http://example.com/",
    ],
    [
      "no URLs",
      "",
      "example.com",
      "//example.com/",
      "http://",
      "http://[::1",
      "http://1.2.3.4.5/",
      "http://256.1.1.1/",
      "http://exa mple.com/",
      "http://[fe80::1%25eth0]/",
      "http://0x100000000/",
    ],
    [
      "odd forms of private ones",
      "http:\\\\10.0.0.1\\",
      "http:10.0.0.1",
      "http:///10.0.0.1",
      "ht\ntp://10.0.0.1/",
      " http://10.0.0.1 ",
      "http://10.0.0.1:80/",
      "HTTP://10.0.0.1",
    ],
    [
      "metadata name",
      "http://metadata.google.internal/",
      "http://METADATA.google.internal./",
      "http://ｍetadata.google.internal/",
    ],
    [
      "empty labels",
      "http://example..com/",
      "http://example.com../",
      "http://.example.com/",
      `http://${"a".repeat(64)}.com/`,
    ],
  ];
  for (const [kind, ...urls] of hostile) {
    test(`refuses ${kind}`, () => {
      for (const url of urls) expect([url, refusedFor(url)]).toEqual([url, expect.any(String)]);
    });
  }

  test("the tables above hold more than 60 spellings, each once", () => {
    const urls = hostile.flatMap(([, ...list]) => list);
    expect(urls.length).toBeGreaterThan(60);
    expect(new Set(urls).size).toBe(urls.length);
  });

  test("lets public hosts and addresses pass, at the edges of the refused blocks too", () => {
    const urls = [
      "https://example.com/",
      "http://example.com./path?q#f",
      "https://EXAMPLE.com:443/",
      "https://bücher.example:8443/",
      "https://xn--bcher-kva.example/",
      "https://foo_bar.example.com:65535/",
      "http://example.com:1024/",
      "http://1.1.1.1#@10.0.0.1",
      "http://9.255.255.255/",
      "http://11.0.0.0/",
      "http://100.63.255.255/",
      "http://100.128.0.0/",
      "http://126.255.255.255/",
      "http://128.0.0.1/",
      "http://169.253.255.255/",
      "http://172.15.255.255/",
      "http://172.32.0.0/",
      "http://192.0.1.0/",
      "http://198.17.255.255/",
      "http://198.20.0.0/",
      "http://223.255.255.255/",
      "http://134744072/",
      "http://[2606:4700:4700::1111]/",
      "http://[2001:4860:4860::8888]/",
      "http://[2001:db7::1]/",
      "http://[::ffff:8.8.8.8]/",
      "http://[64:ff9b::8.8.8.8]/",
      "http://[2002:808:808::1]/",
    ];
    for (const url of urls) expect([url, refusedFor(url)]).toEqual([url, null]);
  });

  test("judges the normal form and hands it on", () => {
    const target = judgeUrl("HTTPS://BÜcher.Example.:8443/ä?x#y", none);
    expect(target).toMatchObject({ host: "xn--bcher-kva.example", port: 8_443, isAddress: false });
    expect("url" in target && target.url.href).toBe("https://xn--bcher-kva.example:8443/%C3%A4?x#y");
    expect(judgeUrl("http://0x8.8.8.8", none)).toMatchObject({ host: "8.8.8.8", port: 80, isAddress: true });
    expect(judgeUrl("https://[2606:4700::1]", none)).toMatchObject({
      host: "2606:4700::1",
      port: 443,
      isAddress: true,
    });
  });

  test("one address of several that is not public refuses all of them, and so does none at all", () => {
    for (const bad of ["10.0.0.1", "::1", "fe80::1%eth0", "::ffff:127.0.0.1", "64:ff9b::a00:1", "nonsense", ""]) {
      expect(refusedFor("https://example.com/", ["93.184.216.34", bad, "2606:4700::1"])).not.toBeNull();
    }
    expect(refusedFor("https://example.com/", [])).not.toBeNull();
    expect(refusedFor("https://example.com/", ["93.184.216.34", "2606:4700::1"])).toBeNull();
  });

  test("refuses the machine's own public addresses in every form", () => {
    const own = ["127.0.0.1", "93.184.216.34", "2606:4700::5", "fe80::1%eth0"];
    expect(refusedFor("https://example.com/", ["93.184.216.34"], none, own)).toBe("own address");
    expect(refusedFor("https://example.com/", ["2606:4700:0::5"], none, own)).toBe("own address");
    expect(refusedFor("https://[::ffff:93.184.216.34]/", [], none, own)).toBe("own address");
    expect(refusedFor("https://example.com/", ["93.184.216.35"], none, own)).toBeNull();
  });

  describe("ALLOW_PRIVATE_HOSTS", () => {
    const { exceptions, faults } = parseExceptions([
      "Intranet.Example.",
      "10.1.0.0/16",
      "127.0.0.1",
      "[fd00::5]",
      "fd12::/16",
    ]);

    test("is read without faults, and names its faults", () => {
      expect(faults).toEqual([]);
      const wrong = ["10.0.0.0/33", "a b", "http://x/", "host:80", "10.0.0/8", "::1/129", "x/8", "", "@", "[::1]:80"];
      expect(parseExceptions(wrong).faults).toEqual(wrong);
      expect(parseExceptions(["10.0.0.1/8/8", "fe80::1%eth0"]).faults).toHaveLength(2);
    });

    test("lets through the named hosts, whatever their addresses, and the named networks", () => {
      const passing: [string, string[]][] = [
        ["http://intranet.example/", ["192.168.1.1"]],
        ["https://INTRANET.example./", ["10.9.9.9", "fe80::1"]],
        ["http://10.1.2.3:8080/", []],
        ["http://[::ffff:10.1.2.3]/", []],
        ["http://anything.example/", ["10.1.255.255"]],
        ["http://mixed.example/", ["10.1.0.1", "93.184.216.34"]],
        ["http://127.0.0.1:9000/", []],
        ["http://[fd00::5]/", []],
        ["http://[fd12:ffff::1]/", []],
      ];
      for (const [url, addresses] of passing)
        expect([url, refusedFor(url, addresses, exceptions)]).toEqual([url, null]);
    });

    test("lets through nothing besides, and neither ports nor user info nor schemes", () => {
      const refused: [string, string[]][] = [
        ["http://10.2.0.1/", []],
        ["http://127.0.0.2/", []],
        ["http://sub.intranet.example/", ["192.168.1.1"]],
        ["http://mixed.example/", ["10.1.0.1", "10.2.0.1"]],
        ["http://intranet.example:22/", ["192.168.1.1"]],
        ["http://user@intranet.example/", ["192.168.1.1"]],
        ["ftp://intranet.example/", ["192.168.1.1"]],
        ["http://metadata.google.internal/", ["10.1.0.1"]],
      ];
      for (const [url, addresses] of refused) {
        expect([url, refusedFor(url, addresses, exceptions)]).toEqual([url, expect.any(String)]);
      }
    });

    test("tells whether only it lets an address through", () => {
      const judged = (host: string, ...addresses: string[]) => judgeAddresses(host, addresses, exceptions, []);
      expect(judged("intranet.example", "8.8.8.8")).toEqual({ isException: true });
      expect(judged("a.example", "10.1.0.1", "10.1.0.2")).toEqual({ isException: true });
      expect(judged("a.example", "10.1.0.1", "8.8.8.8")).toEqual({ isException: false });
      expect(judged("a.example", "8.8.8.8")).toEqual({ isException: false });
    });
  });

  test("a bot's hosts narrow by exact name and never widen", () => {
    const judge = (url: string, limits: { allowed?: string[]; denied?: string[] }) =>
      "refused" in judgeUrl(url, none, limits);
    expect(judge("https://api.example/", { allowed: [] })).toBe(false);
    expect(judge("https://api.example/", { allowed: ["API.example."] })).toBe(false);
    expect(judge("https://www.example/", { allowed: ["api.example"] })).toBe(true);
    expect(judge("https://x.api.example/", { allowed: ["api.example"] })).toBe(true);
    expect(judge("https://api.example./", { denied: ["api.example"] })).toBe(true);
    expect(judge("https://bücher.example/", { denied: ["xn--bcher-kva.example"] })).toBe(true);
    expect(judge("https://api.example/", { allowed: ["api.example"], denied: ["api.example"] })).toBe(true);
    expect(judge("https://metadata.google.internal/", { allowed: ["metadata.google.internal"] })).toBe(true);
    expect(refusedFor("http://10.0.0.1/")).not.toBeNull();
  });

  test("hosts are brought to one form", () => {
    const forms: [string, string | null][] = [
      ["Example.COM.", "example.com"],
      ["bücher.example", "xn--bcher-kva.example"],
      ["0x7f.1", "127.0.0.1"],
      ["[::1]", "::1"],
      ["::1", "::1"],
      ["0:0::1", "::1"],
      ["example.com:80", null],
      ["example.com:8080", null],
      ["a/b", null],
      ["user@host", null],
      ["", null],
      ["a b", null],
    ];
    for (const [text, form] of forms) expect([text, normalHost(text)]).toEqual([text, form]);
  });
});

describe("addresses", () => {
  test("are read in their standard forms only", () => {
    const good: [string, string][] = [
      ["1.2.3.4", "1.2.3.4"],
      ["::", Array(16).fill(0).join(".")],
      ["1::", `0.1.${Array(14).fill(0).join(".")}`],
      ["::1.2.3.4", `${Array(12).fill(0).join(".")}.1.2.3.4`],
      ["1:2:3:4:5:6:7:8", "0.1.0.2.0.3.0.4.0.5.0.6.0.7.0.8"],
      ["1:2:3:4:5:6:1.2.3.4", "0.1.0.2.0.3.0.4.0.5.0.6.1.2.3.4"],
      ["FE80::ab%eth0", `254.128.${Array(13).fill(0).join(".")}.171`],
      ["1:2:3:4:5:6:7::", "0.1.0.2.0.3.0.4.0.5.0.6.0.7.0.0"],
    ];
    for (const [text, bytes] of good) expect([text, parseAddress(text)?.join(".")]).toEqual([text, bytes]);
    const bad = [
      "",
      "1.2.3",
      "1.2.3.4.5",
      "01.2.3.4",
      "256.1.1.1",
      "1.2.3.4 ",
      "0x1.2.3.4",
      ":",
      ":::",
      "1::2::3",
      "12345::",
      "1:2:3:4:5:6:7",
      "1:2:3:4:5:6:7:8:9",
      "1:2:3:4:5:6:7:8::",
      "1.2.3.4::",
      "::1.2.3",
      "::1.2.3.4:5",
      "g::",
      "1:2:3:4:5:6:7:1.2.3.4",
      ":1:2:3:4:5:6:7:8",
      "1:2:3:4:5:6:7:",
    ];
    for (const text of bad) expect([text, parseAddress(text)]).toEqual([text, null]);
  });

  test("lie within a network by its leading bits, whatever its length", () => {
    const within = (address: string, network: string) => {
      const [a, n] = [parseAddress(address), parseNetwork(network)];
      if (a === null || n === null) throw new Error("unreadable");
      return isWithin(a, n);
    };
    expect(within("10.0.0.1", "0.0.0.0/0")).toBe(true);
    expect(within("10.0.0.1", "10.0.0.1/32")).toBe(true);
    expect(within("10.0.0.2", "10.0.0.1")).toBe(false);
    expect(within("10.0.0.3", "10.0.0.0/30")).toBe(true);
    expect(within("10.0.0.4", "10.0.0.0/30")).toBe(false);
    expect(within("172.31.255.255", "172.16.0.0/12")).toBe(true);
    expect(within("172.32.0.0", "172.16.0.0/12")).toBe(false);
    expect(within("2001:db8:ffff::", "2001:db8::/32")).toBe(true);
    expect(within("2001:db9::", "2001:db8::/32")).toBe(false);
    expect(within("::1", "0.0.0.0/0")).toBe(false);
  });

  test("texts are judged against blocks as texts; only an IPv4-mapped address counts as IPv4", () => {
    const cases: [string, string, boolean][] = [
      ["10.1.2.3", "10.0.0.0/8", true],
      ["::ffff:10.1.2.3", "10.0.0.0/8", true],
      ["::FFFF:0a01:0203", "10.1.2.3", true],
      ["2002:0a01:0203::1", "10.0.0.0/8", false],
      ["64:ff9b::10.1.2.3", "10.0.0.0/8", false],
      ["2001:db8::1", "2001:db8::/32", true],
      ["unknown", "0.0.0.0/0", false],
      ["10.1.2.3", "everywhere", false],
    ];
    for (const [address, block, inside] of cases)
      expect([address, block, isInside(address, block)]).toEqual([address, block, inside]);
    for (const block of ["10.0.0.0/8", "10.0.0.1", "2001:db8::/32", "::1"])
      expect([block, isBlock(block)]).toEqual([block, true]);
    for (const block of ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/8/8", "10.0.0.0/", "example.org"])
      expect([block, isBlock(block)]).toEqual([block, false]);
  });

  test("have one canonical text", () => {
    const forms: [string, string | null][] = [
      ["192.0.2.1", "192.0.2.1"],
      ["::ffff:192.0.2.1", "192.0.2.1"],
      ["::FFFF:C000:201", "192.0.2.1"],
      ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
      ["2001:0db8::0001", "2001:db8::1"],
      ["fe80::1%eth0", "fe80::1"],
      ["::", "::"],
      ["::1.2.3.4", "::102:304"],
      ["192.0.2.01", null],
      ["spoofed", null],
      ["", null],
    ];
    for (const [text, form] of forms) expect([text, canonicalAddress(text)]).toEqual([text, form]);
  });

  test("public unicast is refused for every block's first and last address", () => {
    const edges = [
      "10.0.0.0",
      "10.255.255.255",
      "172.16.0.0",
      "192.88.99.255",
      "224.0.0.0",
      "255.255.255.255",
      "2001:0:ffff:ffff:ffff:ffff:ffff:ffff",
      "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ];
    for (const text of edges) {
      const address = parseAddress(text);
      expect([text, address && isPublicUnicast(address)]).toEqual([text, false]);
    }
  });
});
