// The outbound guard's judgement (contract: examples, "Outbound guard"): which addresses given as input may be
// contacted. Pure; names are looked up and connections are made by the fetch engine.

import { isPublicUnicast, isWithin, parseAddress, parseNetwork, plainAddress, type Network } from "./address.ts";

/** What ALLOW_PRIVATE_HOSTS lets through. */
export interface Exceptions {
  hosts: ReadonlySet<string>;
  networks: readonly Network[];
}

/** Where a URL leads, in the URL parser's normal form. */
export interface Target {
  url: URL;
  /** The host without brackets and final dot. */
  host: string;
  port: number;
  /** True when the host is an address and no name to look up. */
  isAddress: boolean;
}

/** Why, for the log only: the caller learns nothing but that it is refused. */
export interface Refused {
  refused: string;
}

/** Exact hosts that a bot allows or denies; they narrow what the guard permits and never widen it. */
export interface HostLimits {
  /** Not empty: only these. */
  allowed?: readonly string[];
  denied?: readonly string[];
}

const METADATA_HOST = "metadata.google.internal";

/** A host as the URL parser writes it: lower case, punycode, addresses in dotted form, no final dot; null for none. */
export function normalHost(text: string): string | null {
  const bare = text.includes(":") && !text.startsWith("[") ? `[${text}]` : text;
  // What would end the host or begin another part of a URL is no part of a host.
  if (bare === "" || /[\s/?#@\\]/.test(bare) || !URL.canParse(`http://${bare}/`)) return null;
  const url = new URL(`http://${bare}/`);
  return url.port === "" && !/:\d*$/.test(bare.replace(/^\[.*\]/, "")) ? hostOf(url) : null;
}

function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
}

/** The entries of ALLOW_PRIVATE_HOSTS, and those that are neither host nor network. */
export function parseExceptions(entries: readonly string[]): { exceptions: Exceptions; faults: string[] } {
  const hosts = new Set<string>();
  const networks: Network[] = [];
  const faults: string[] = [];
  for (const entry of entries) {
    const network = parseNetwork(entry.replace(/^\[(.*)\]$/, "$1"));
    const host = network === null ? normalHost(entry) : null;
    if (network !== null) networks.push(network);
    else if (host !== null) hosts.add(host);
    else faults.push(entry);
  }
  return { exceptions: { hosts, networks }, faults };
}

function isListed(host: string, list: readonly string[]): boolean {
  return list.some((entry) => normalHost(entry) === host);
}

/** Judges what can be told without looking anything up: scheme, user info, port, and the host's name. */
export function judgeUrl(text: string, exceptions: Exceptions, limits: HostLimits = {}): Target | Refused {
  if (!URL.canParse(text)) return { refused: "not a URL" };
  const url = new URL(text);
  if (url.protocol !== "https:" && url.protocol !== "http:") return { refused: "scheme" };
  if (url.username !== "" || url.password !== "") return { refused: "user info" };
  const port = url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
  if (port !== 80 && port !== 443 && port < 1_024) return { refused: "port" };
  const host = hostOf(url);
  const isAddress = parseAddress(host) !== null;
  if (!isAddress && (host.length > 253 || !host.split(".").every((label) => label !== "" && label.length <= 63))) {
    return { refused: "host" };
  }
  if (host === METADATA_HOST && !exceptions.hosts.has(host)) return { refused: "metadata" };
  const { allowed = [], denied = [] } = limits;
  if (allowed.length > 0 && !isListed(host, allowed)) return { refused: "not among the allowed hosts" };
  if (isListed(host, denied)) return { refused: "among the denied hosts" };
  if (!isAddress) url.hostname = host;
  return { url, host, port, isAddress };
}

/**
 * Judges all addresses that a host was found at; one that is not public refuses all. `own` are the addresses of this
 * machine. `isException` tells that only ALLOW_PRIVATE_HOSTS lets it through.
 */
export function judgeAddresses(
  host: string,
  addresses: readonly string[],
  exceptions: Exceptions,
  own: readonly string[],
): { isException: boolean } | Refused {
  if (addresses.length === 0) return { refused: "no address" };
  if (exceptions.hosts.has(host)) return { isException: true };
  const ownPlain = own.flatMap((text) => parseAddress(text) ?? []).map((address) => plainAddress(address).join("."));
  let excepted = 0;
  for (const text of addresses) {
    const parsed = parseAddress(text);
    if (parsed === null) return { refused: "no address" };
    const plain = plainAddress(parsed);
    if (exceptions.networks.some((network) => isWithin(plain, network) || isWithin(parsed, network))) excepted += 1;
    else if (!isPublicUnicast(parsed)) return { refused: "not public" };
    else if (ownPlain.includes(plain.join("."))) return { refused: "own address" };
  }
  return { isException: excepted === addresses.length };
}
