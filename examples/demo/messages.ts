import type { RingShare } from 'kilovolt'
import type { City } from './cities.ts'

/** What the story asks a member process to do. */
export type Command =
  | { readonly type: 'start'; readonly bootstrap: readonly string[] }
  | { readonly type: 'store'; readonly records: readonly (readonly [key: string, city: City])[] }
  | { readonly type: 'visit'; readonly keys: readonly string[] }
  | { readonly type: 'halt' }
  | { readonly type: 'check'; readonly cities: readonly string[]; readonly visits: readonly Visit[] }
  | { readonly type: 'look' }
  | { readonly type: 'stop' }

/** A counter that was acknowledged: the key and the value it had then. */
export type Visit = readonly [key: string, count: number]

/** What the member answers to a command. */
export type Answer =
  | { readonly type: 'started'; readonly id: string; readonly address: string }
  | { readonly type: 'stored'; readonly count: number }
  | { readonly type: 'checked'; readonly missing: readonly string[] }
  | { readonly type: 'seen'; readonly look: Look }
  | { readonly type: 'done' }
  | { readonly type: 'failed'; readonly message: string }

/** How the cluster looks from a member. */
export interface Look {
  readonly id: string
  readonly alive: readonly string[]
  readonly up: readonly string[]
  readonly changing: number
  readonly epoch: number
  readonly shares: readonly RingShare[]
  /** First owner of each partition. */
  readonly primaries: readonly string[]
  /** Owners that each partition has. */
  readonly copies: readonly number[]
}

/** What the member tells without being asked. */
export type News =
  | { readonly type: 'event'; readonly name: string; readonly about: string; readonly at: number }
  | { readonly type: 'load'; readonly ok: number; readonly failed: number; readonly acknowledged: readonly Visit[] }

/** Everything that a member process sends. */
export type FromMember = { readonly answer: Answer; readonly to: number } | { readonly news: News }

/** Everything that a member process receives. */
export interface ToMember {
  readonly command: Command
  readonly id: number
}
