import type { StoreId } from '../model/node-id.ts'

/**
 * Who takes part (Raft §6). While `next` is given the configuration is joint: elections and commitment need a majority of
 * the old voters and a majority of the new ones.
 */
export interface Configuration {
  readonly voters: readonly StoreId[]
  readonly next: readonly StoreId[] | undefined
  /** Receive the log, but do not count. */
  readonly learners: readonly StoreId[]
}

/** Nobody takes part: the configuration of a node that waits to be added. */
export const NO_CONFIGURATION: Configuration = { voters: [], next: undefined, learners: [] }

export function isVoter({ voters, next }: Configuration, store: StoreId): boolean {
  return voters.includes(store) || next?.includes(store) === true
}

/** Everyone who receives the log. */
export function participants({ voters, next, learners }: Configuration): readonly StoreId[] {
  return [...new Set([...voters, ...(next ?? []), ...learners])]
}
