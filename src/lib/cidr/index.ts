// IP addresses and blocks (CIDR, RFC 4632 and RFC 4291), by Node's own parser.

import { BlockList, isIP } from "node:net";

/** True for `10.0.0.0/8`, `2001:db8::/32` or a single address. */
export function isBlock(text: string): boolean {
  const [address = "", bits, ...rest] = text.split("/");
  const family = isIP(address);
  if (family === 0 || rest.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128));
}

/** True if `address` lies in `block`; IPv4 inside IPv6 (`::ffff:…`) counts as IPv4. False for what is no address. */
export function isInside(address: string, block: string): boolean {
  const plain =
    address.toLowerCase().startsWith("::ffff:") && isIP(address.slice(7)) === 4 ? address.slice(7) : address;
  const family = isIP(plain);
  if (family === 0 || !isBlock(block)) return false;
  const [start = "", bits] = block.split("/");
  const kind = isIP(start) === 4 ? "ipv4" : "ipv6";
  const list = new BlockList();
  list.addSubnet(start, bits === undefined ? (kind === "ipv4" ? 32 : 128) : Number(bits), kind);
  return list.check(plain, family === 4 ? "ipv4" : "ipv6");
}
