import type { Requirement } from '../model/quorum.ts'

/** Settings of one call. */
export interface CallOptions {
  readonly requirement: Requirement | 'any'
  readonly timeoutMs: number | undefined
  readonly signal: AbortSignal | undefined
  /** How long what is stored lives, ms from its stamp. Absent: for ever. */
  readonly ttl?: number | undefined
  /** Whether a read of a key by itself, above `one`, is to return what is deleted or has expired too. Default false. */
  readonly wantsDead?: boolean | undefined
  /** Whether the value of a put is packed. */
  readonly packed?: boolean | undefined
}

/** What must be had of owners. */
export function ownersOf(requirement: Requirement | 'any'): Requirement {
  return requirement === 'any' ? 'one' : requirement
}
