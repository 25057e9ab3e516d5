import type { StoreId } from '../model/node-id.ts'
import type { Row } from './topology.ts'

/**
 * The rules of ownership change, of purging and of merging on which safety rests, as a value. Production has one set,
 * {@link SOUND_RULES}; the simulator breaks one rule at a time and must see the harm, which is what shows that it would
 * see a fault.
 */
export interface PlacementRules {
  /** C1: the sets of which a quorum needs a majority each: the owners and, while the row changes, the coming owners too. */
  quorumSets(row: Row): readonly (readonly StoreId[])[]
  /** C3: how many old owners a rebuilt or added slot copies from, so that every completed write is among them. */
  sourceCount(oldSlots: number): number
  /** C3: whether a source applies the change's epoch, and everything it took before it, ahead of its copy. */
  readonly fenceSources: boolean
  /** C2: whether a replica refuses requests older than the row. */
  readonly fenceRequests: boolean
  /** C5: whether what an owner held is compared with those who own it now before it is deleted. */
  readonly compareBeforeDrop: boolean
  /** Whether a quorum must hold what a quorum read is going to return: a later one could go back otherwise. */
  readonly mendBeforeAnswer: boolean
  /** Whether a scan returns a key only when every node that it has asked has passed it: it may be missing in one that has not. */
  readonly waitForAllStreams: boolean
  /** H1: whether new writes and hints are kept out of a past that is being settled. */
  readonly closePast: boolean
  /** H2: whether a past is settled only when nobody keeps a record of it for somebody else. */
  readonly drainPast: boolean
  /** H3: whether a past is settled only when all owners have been compared over it. */
  readonly syncPast: boolean
  /** G1: whether what lies in the settled past and is missing stays out. */
  readonly refusePast: boolean
  /** Whether what is made of a value is stamped right after that, before all that is later. */
  readonly followInPlace: boolean
  /** M3: whether the members of a cluster that has dissolved compare their copies before anybody goes over to another. */
  readonly closeFirst: boolean
  /** G4: whether what is brought along from another cluster keeps its age. */
  readonly keepAge: boolean
  /** U: whether a replica stores the writes of one call that lie in one partition together. */
  readonly keepUnits: boolean
  /** S1: whether records with siblings are joined, instead of the newer one taking the place of the other. */
  readonly joinSiblings: boolean
  /** S2: whether only an owner mints a sibling, upon all that it holds of the key. */
  readonly mintAtOwner: boolean
  /** S3: whether a write that is sent again, as its answer was lost, is known for the same. */
  readonly mintOnce: boolean
  /** S4: whether an owner that may have forgotten what it has minted mints under another name from then on. */
  readonly renameMint: boolean
  /** X1: whether the old entries of an index are deleted, and what is read is compared with its entry. */
  readonly keepEntries: boolean
  /** X2: whether a copy notes what was written while nobody had told it how to index that. */
  readonly noteUnindexed: boolean
  /** W2: whether a watch that changes to another copy looks there for what the former one never had. */
  readonly rewindWatches: boolean
  /** Whether a watch that goes on where an earlier one stood is told what came since. */
  readonly resumeWatches: boolean
}

/** Size of a majority. */
export function majority(size: number): number {
  return Math.floor(size / 2) + 1
}

/** The rules in force; `docs/internals/ownership.md` and `docs/internals/repair.md` say why each is needed. */
export const SOUND_RULES: PlacementRules = {
  quorumSets: row => (row.change === undefined ? [row.slots] : [row.slots, row.change.next]),
  sourceCount: oldSlots => oldSlots - majority(oldSlots) + 1,
  fenceSources: true,
  fenceRequests: true,
  compareBeforeDrop: true,
  mendBeforeAnswer: true,
  waitForAllStreams: true,
  closePast: true,
  drainPast: true,
  syncPast: true,
  refusePast: true,
  followInPlace: true,
  closeFirst: true,
  keepAge: true,
  keepUnits: true,
  joinSiblings: true,
  mintAtOwner: true,
  mintOnce: true,
  renameMint: true,
  keepEntries: true,
  noteUnindexed: true,
  rewindWatches: true,
  resumeWatches: true
}
