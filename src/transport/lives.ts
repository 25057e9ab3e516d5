import { KilovoltError } from '../base/errors.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
import { type Hello, LIFE_BYTES } from './hello.ts'

/** Hex digits of when a life began, Unix ms: lives are in the order of their beginnings. */
const TIME_DIGITS = 12
/** The rest is chance, which tells apart those that began together. */
const CHANCE_BYTES = LIFE_BYTES - TIME_DIGITS / 2
/** Lives of a peer that are remembered. */
const SEEN_MAX = 8

/** The name of one run of a node, from its start to its end, in hex. The earlier one of two is the lesser text. */
export function createLife(clock: Pick<Clock, 'wallMs'>, random: Pick<Random, 'bytes'>): string {
  const time = Math.max(0, Math.floor(clock.wallMs())).toString(16).padStart(TIME_DIGITS, '0')
  return time + Buffer.from(random.bytes(CHANCE_BYTES)).toString('hex')
}

type Named = Pick<Hello, 'storeId' | 'life' | 'addresses'>

/**
 * The lives of one peer, as it tells of them: each start of its node is another one. Who starts anew never speaks for an
 * earlier life again, so that one which does while a later one was here already proves that both go on: the same store was
 * copied, and two processes answer and vote as one member. Then the one that began first is the peer, for everybody, and the
 * other is turned away for as long as the first is linked.
 */
export class Lives {
  #current: Named | undefined
  readonly #seen = new Set<string>()

  /** Why a hello of the peer is refused, if it is. Nothing is known of those that name no life. */
  admit(other: Named, isLinked: boolean): KilovoltError | undefined {
    const { life } = other
    if (life === undefined) return undefined
    const rival = this.#current
    const isBack = isLinked && rival?.life !== life && this.#seen.has(life)
    if (isBack && rival?.life !== undefined && rival.life < life) return twice(rival, other)
    this.#current = other
    this.#seen.delete(life)
    this.#seen.add(life)
    for (const oldest of this.#seen) {
      if (this.#seen.size <= SEEN_MAX) break
      this.#seen.delete(oldest)
    }
    return undefined
  }
}

function twice(first: Named, other: Named): KilovoltError {
  const places = [first, other].map(
    ({ life, addresses }) => `${addresses.join(', ') || 'unknown addresses'} (${startOf(life!)})`
  )
  return new KilovoltError(
    'KV_HANDSHAKE',
    `two processes run as the store ${first.storeId}: that at ${places[0]}, which began first, and that at ${places[1]}, ` +
      'which is refused: its storage was copied; stop it, and let a new node join with an empty store instead',
    { details: { storeId: first.storeId, first: first.addresses, other: other.addresses } }
  )
}

function startOf(life: string): string {
  const ms = Number.parseInt(life.slice(0, TIME_DIGITS), 16)
  return ms <= 8.64e15 ? new Date(ms).toISOString() : life
}
