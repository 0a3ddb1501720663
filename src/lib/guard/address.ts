// IP addresses as bytes: text to bytes and back, networks in CIDR notation, and which addresses are public unicast.

/** 4 or 16 bytes in network order. */
export type Address = Uint8Array;

export interface Network {
  address: Address;
  prefixBits: number;
}

function parseIpv4(text: string): Address | null {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256)) return null;
  return Uint8Array.from(parts, Number);
}

/** The groups of one side of `::` as bytes; an IPv4 tail counts as two groups. */
function parseGroups(text: string): number[] | null {
  if (text === "") return [];
  const bytes: number[] = [];
  const groups = text.split(":");
  for (const [at, group] of groups.entries()) {
    const tail = at === groups.length - 1 && group.includes(".") ? parseIpv4(group) : null;
    if (tail !== null) bytes.push(...tail);
    else if (/^[0-9a-f]{1,4}$/i.test(group))
      bytes.push(Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff);
    else return null;
  }
  return bytes;
}

function parseIpv6(text: string): Address | null {
  const sides = text.split("::");
  if (sides.length > 2) return null;
  const head = parseGroups(sides[0] ?? "");
  const tail = parseGroups(sides[1] ?? "");
  // The tail of IPv4 stands at the very end only.
  if (head === null || tail === null || (sides.length === 2 && (sides[0] ?? "").includes("."))) return null;
  const missing = 16 - head.length - tail.length;
  if (sides.length === 1 ? missing !== 0 : missing < 2) return null;
  return Uint8Array.from([...head, ...Array<number>(missing).fill(0), ...tail]);
}

/** The bytes of an address in its standard text form, also with a zone (`fe80::1%eth0`); null for anything else. */
export function parseAddress(text: string): Address | null {
  if (!text.includes(":")) return parseIpv4(text);
  return parseIpv6(zoneless(text));
}

/** `10.0.0.0/8`, `fd00::/8`, or one address alone; null for anything else. */
export function parseNetwork(text: string): Network | null {
  const slash = text.indexOf("/");
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === null || text.includes("%")) return null;
  const bits = slash < 0 ? String(address.length * 8) : text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(bits) || Number(bits) > address.length * 8) return null;
  return { address, prefixBits: Number(bits) };
}

/** True if the address lies in the network; those of the other family never do. */
export function isWithin(address: Address, { address: network, prefixBits }: Network): boolean {
  if (address.length !== network.length) return false;
  return network.every((byte, at) => {
    const bits = Math.min(8, Math.max(0, prefixBits - at * 8));
    const mask = (0xff << (8 - bits)) & 0xff;
    return (byte & mask) === ((address[at] ?? 0) & mask);
  });
}

/** True for `10.0.0.0/8`, `2001:db8::/32` or one address alone. */
export function isBlock(text: string): boolean {
  return parseNetwork(text) !== null;
}

/**
 * True if `address` lies in `block`, both as text; false for what is neither. An IPv4-mapped address counts as IPv4;
 * one of 6to4 or NAT64 does not, because whoever sends from it need not own the IPv4 address inside.
 */
export function isInside(address: string, block: string): boolean {
  const parsed = parseAddress(address);
  const network = parseNetwork(block);
  if (parsed === null || network === null) return false;
  return isWithin(parsed, network) || isWithin(unmapped(parsed), network);
}

/** The IPv4 address inside of an IPv4-mapped one (RFC 4291, 2.5.5.2); others as they are. */
function unmapped(address: Address): Address {
  const isMapped = address.length === 16 && address.every((byte, at) => at > 11 || byte === (at < 10 ? 0 : 0xff));
  return isMapped ? address.slice(12) : address;
}

/**
 * The one text of an address (RFC 5952), an IPv4-mapped one as IPv4, without a zone; null for what is no address.
 */
export function canonicalAddress(text: string): string | null {
  const parsed = parseAddress(text);
  if (parsed === null) return null;
  const plain = unmapped(parsed);
  // The URL parser serialises by RFC 5952.
  return plain.length === 4 ? plain.join(".") : new URL(`http://[${zoneless(text)}]/`).hostname.slice(1, -1);
}

function zoneless(text: string): string {
  return text.replace(/%.*$/s, "");
}

function networks(...texts: string[]): Network[] {
  return texts.map((text) => {
    const network = parseNetwork(text);
    if (network === null) throw new Error(`no network: ${text}`);
    return network;
  });
}

const NOT_PUBLIC = networks(
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  // The platform's own server as virtual machines of Azure see it; no public service.
  "168.63.129.16/32",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/3",
  // Inside of what is global unicast: Teredo, benchmarking, ORCHID, documentation.
  "2001::/32",
  "2001:2::/48",
  "2001:10::/28",
  "2001:20::/28",
  "2001:db8::/32",
  "3fff::/20",
);

/** All of global unicast that is assigned at all (RFC 4291, section 2.4); loopback, local and multicast lie outside. */
const GLOBAL_UNICAST = networks("2000::/3");

/** IPv6 forms of IPv4 addresses, with the byte at which the IPv4 address begins. */
const TRANSLATED: [Network[], number][] = [
  [networks("::ffff:0:0/96"), 12],
  [networks("64:ff9b::/96"), 12],
  [networks("2002::/16"), 2],
];

/** The IPv4 address inside of a mapped (::ffff:0:0/96), NAT64 or 6to4 address; others as they are. */
export function plainAddress(address: Address): Address {
  if (address.length === 4) return address;
  const form = TRANSLATED.find(([within]) => within.some((network) => isWithin(address, network)));
  return form === undefined ? address : address.slice(form[1], form[1] + 4);
}

/** True for what a packet to it leaves towards the public internet; IPv4 inside of IPv6 is judged as IPv4. */
export function isPublicUnicast(address: Address): boolean {
  const plain = plainAddress(address);
  if (NOT_PUBLIC.some((network) => isWithin(plain, network))) return false;
  return plain.length === 4 || GLOBAL_UNICAST.some((network) => isWithin(plain, network));
}
