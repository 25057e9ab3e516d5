import type { StoreId } from '../model/node-id.ts'

/** What a provisional node sees of the others at one moment. */
export interface FoundingPicture {
  readonly nowMs: number
  readonly self: StoreId
  /**
   * Living nodes without a cluster that are among those expected, this one included: the list names them, or they were
   * told how many to expect.
   */
  readonly provisional: readonly StoreId[]
  /** Those of them that would found; whoever may not is not waited for. */
  readonly founders: readonly StoreId[]
  /** Living nodes that are members of a cluster. */
  readonly members: readonly StoreId[]
  /** Entries of the bootstrap list. */
  readonly listed: number
  /** Whether the list names this node itself. */
  readonly listsSelf: boolean
}

/** How a cluster may come into being here. */
export interface FoundingOptions {
  /** Whether this node may found at all. */
  readonly found: boolean
  /** How many nodes are expected, if the user said so. */
  readonly expect: number | undefined
  /** Whether others are looked for on the local network. */
  readonly lan: boolean
  /** Whether there is a list, or a function that makes one. */
  readonly bootstrap: boolean
  /** Pause before a node on a LAN founds alone; differs between nodes, ms. */
  readonly lanWaitMs: number
}

/** What to do now. */
export type FoundingDecision = 'wait' | 'join' | 'found'

/** The picture must have held for two gossip periods. */
const HOLD_MS = 2000
/**
 * Longer when nobody else is on the list, ms: whoever has this node on its own list dials it every second, so that a first
 * node that starts anew is met by the others before it founds a second cluster.
 */
const HOLD_ALONE_MS = 3500

/**
 * Whether to found a cluster, as a machine. F1: nobody to look for, so found at once. F2: a list of others only, so never
 * found. F3: the list names this node, or a number of nodes is expected: once a majority of that number has been seen,
 * nobody among them is a member, and the picture has held, the smallest store id among those that may found does. F4: on a
 * LAN wait a moment for anybody, then found. Whoever sees a member joins it.
 */
export class Founding {
  readonly #options: FoundingOptions
  readonly #startedMs: number
  #picture = ''
  #sinceMs: number

  constructor(options: FoundingOptions, nowMs: number) {
    this.#options = options
    this.#startedMs = nowMs
    this.#sinceMs = nowMs
  }

  /** How this node stands, as others need to know it. */
  state(listsSelf: boolean): { readonly counts: boolean; readonly mayFound: boolean } {
    const { found, expect, bootstrap } = this.#options
    const counts = expect !== undefined || !bootstrap || listsSelf
    return { counts, mayFound: counts && found }
  }

  look(picture: FoundingPicture): FoundingDecision {
    if (picture.members.length > 0) return 'join'
    const { expect, lan, bootstrap, lanWaitMs } = this.#options
    if (!picture.founders.includes(picture.self)) return 'wait'
    if (!bootstrap && !lan && expect === undefined) return 'found'
    this.#observe(picture)
    const smallest = [...picture.founders].sort()[0]
    const isAlone = expect === undefined && picture.listsSelf && picture.listed === 1
    const held = picture.nowMs - this.#sinceMs >= (isAlone ? HOLD_ALONE_MS : HOLD_MS)
    if (smallest !== picture.self || !held) return 'wait'
    const wanted = expect ?? (picture.listsSelf ? picture.listed : undefined)
    if (wanted !== undefined) return picture.provisional.length * 2 > wanted ? 'found' : 'wait'
    const mayFoundAlone = lan && !bootstrap && picture.nowMs - this.#startedMs >= lanWaitMs
    return mayFoundAlone ? 'found' : 'wait'
  }

  #observe({ nowMs, provisional, founders }: FoundingPicture): void {
    const picture = [provisional, founders].map(stores => [...stores].sort().join(' ')).join(' / ')
    if (picture === this.#picture) return
    this.#picture = picture
    this.#sinceMs = nowMs
  }
}
