import type { StoreId } from './node-id.ts'

/** Named strengths of an operation. `any` is `one` for reads, and for writes as long as some owner can be reached. */
export type ConsistencyLevel = 'any' | 'one' | 'quorum' | 'all'

/** Levels that are met by answers of owners. */
export type OwnerLevel = Exclude<ConsistencyLevel, 'any'>

/** A level, or an explicit number of copies (the customary R and W). */
export type Requirement = OwnerLevel | number

/** Where an operation stands; `lost` as soon as the requirement is out of reach. */
export type TallyState = 'pending' | 'won' | 'lost'

/**
 * Counts the answers of one phase of one operation against its requirement. While a row changes there are two sets, the
 * owners and the coming owners, and the requirement holds in each (rule C1):
 *
 * - `one`: one of the first set;
 * - `quorum`: a majority of each set;
 * - `all`: every member of every set;
 * - a number n: n of each set.
 *
 * The first answer of a store stands, and the outcome stays what it first was. One is made for each operation, so it
 * keeps no more than who has answered: sets have a handful of members, which are faster counted again than kept counted.
 */
export class Tally {
  readonly #sets: readonly (readonly StoreId[])[]
  readonly #requirement: Requirement
  readonly #yes: StoreId[] = []
  readonly #no: StoreId[] = []
  #state: TallyState

  /**
   * @param sets - what `PlacementRules.quorumSets` says of the row
   * @param requirement - level, or number of copies of each set
   */
  constructor(sets: readonly (readonly StoreId[])[], requirement: Requirement) {
    this.#sets = sets
    this.#requirement = requirement
    this.#state = this.#judge()
  }

  get state(): TallyState {
    return this.#state
  }

  /** Those who have done what was asked, in the order of their answers; members of no set are among them. */
  get answered(): readonly StoreId[] {
    return this.#yes
  }

  /** Answers needed of each set; see {@link requiredAnswers}. */
  get needed(): readonly number[] {
    return requiredAnswers(this.#sets, this.#requirement)
  }

  /** A store has done what was asked. */
  yes(store: StoreId): TallyState {
    return this.#count(store, this.#yes)
  }

  /** A store has not, and will not in this phase. */
  no(store: StoreId): TallyState {
    return this.#count(store, this.#no)
  }

  #count(store: StoreId, answers: StoreId[]): TallyState {
    if (this.#yes.includes(store) || this.#no.includes(store)) return this.#state
    answers.push(store)
    if (this.#state === 'pending') this.#state = this.#judge()
    return this.#state
  }

  #judge(): TallyState {
    const counting = this.#requirement === 'one' ? 1 : Math.max(1, this.#sets.length)
    let state: TallyState = 'won'
    for (let i = 0; i < counting; i++) {
      const set = this.#sets[i] ?? []
      const needed = neededOf(set.length, this.#requirement)
      if (set.length - countIn(set, this.#no) < needed) return 'lost'
      if (countIn(set, this.#yes) < needed) state = 'pending'
    }
    return state
  }
}

/**
 * How many answers each set must give, for people to read: `[2]` for a quorum of three, `[2, 2]` while such a row
 * changes, `[1]` for `one` in either case. More than a set has members can never be met.
 */
export function requiredAnswers(sets: readonly (readonly StoreId[])[], requirement: Requirement): readonly number[] {
  const counting = requirement === 'one' ? sets.slice(0, 1) : sets
  return counting.map(set => neededOf(set.length, requirement))
}

/** Answers that a set of this size must give; at least one, so that a row without owners is never a success. */
export function neededOf(size: number, requirement: Requirement): number {
  switch (requirement) {
    case 'one':
      return 1
    case 'quorum':
      return Math.floor(size / 2) + 1
    case 'all':
      return Math.max(1, size)
    default:
      return Math.max(1, requirement)
  }
}

function countIn(set: readonly StoreId[], answers: readonly StoreId[]): number {
  let count = 0
  for (const store of answers) if (set.includes(store)) count++
  return count
}
