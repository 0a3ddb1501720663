// Two rankings made into one by reciprocal rank fusion (contract knowledge.md, "Search" 3). Pure.

export interface Ranked {
  chunkId: string;
  documentId: string;
  collectionId: string;
  score: number;
  isOpen: boolean;
}

export interface FusionRules {
  /** Null: the side does not take part. */
  denseWeight: number | null;
  sparseWeight: number | null;
  /** The k of reciprocal rank fusion. */
  k: number;
}

export interface Fused {
  chunkId: string;
  documentId: string;
  collectionId: string;
  isOpen: boolean;
  /** 0..1; 1 is first on every side that takes part. */
  score: number;
  denseScore: number | null;
  sparseScore: number | null;
  /** From 1. */
  denseRank: number | null;
  sparseRank: number | null;
}

/** score = Σ weight ÷ (k + rank), divided by the best possible sum. Best first; equal scores by dense rank, then by id. */
export function fuse(dense: readonly Ranked[], sparse: readonly Ranked[], rules: FusionRules): Fused[] {
  const { k } = rules;
  const weights = (rules.denseWeight ?? 0) + (rules.sparseWeight ?? 0);
  const found = new Map<string, Fused>();
  const take = (side: readonly Ranked[], weight: number | null, name: "dense" | "sparse") => {
    if (weight === null || weights === 0) return;
    for (const [index, { score, ...passage }] of side.entries()) {
      const known = found.get(passage.chunkId) ?? {
        ...passage,
        score: 0,
        denseScore: null,
        sparseScore: null,
        denseRank: null,
        sparseRank: null,
      };
      found.set(passage.chunkId, known);
      known.score += (weight / weights) * ((k + 1) / (k + index + 1));
      known[`${name}Score`] = score;
      known[`${name}Rank`] = index + 1;
    }
  };
  take(dense, rules.denseWeight, "dense");
  take(sparse, rules.sparseWeight, "sparse");
  return [...found.values()].toSorted(
    (a, b) =>
      b.score - a.score || (a.denseRank ?? Infinity) - (b.denseRank ?? Infinity) || (a.chunkId < b.chunkId ? -1 : 1),
  );
}

/**
 * The first `limit`, with at most `perDocument` passages of one document; a document that only shows its title stands
 * there once.
 */
export function firstOf(fused: readonly Fused[], limit: number, perDocument: number): Fused[] {
  const counts = new Map<string, number>();
  const kept: Fused[] = [];
  for (const passage of fused) {
    if (kept.length === limit) break;
    const count = counts.get(passage.documentId) ?? 0;
    if (count >= (passage.isOpen ? perDocument : 1)) continue;
    counts.set(passage.documentId, count + 1);
    kept.push(passage);
  }
  return kept;
}
