import { fromUtf8, utf8 } from '../../src/base/bytes.ts'
import type { Causality } from '../../src/model/causality.ts'
import type { Actor } from '../../src/model/node-id.ts'
import { encodeSiblings, type RecordBytes } from '../../src/model/record.ts'
import { mintedSet, siblingsOf } from '../../src/model/sibling-set.ts'

/** How a sibling is minted. */
export interface MintedWith {
  readonly context?: Causality
  /** Number of who mints. */
  readonly actor?: number
  readonly expiresAt?: number
  readonly id?: string
}

/** The actor of a number. */
export function actorOf(number: number): Actor {
  return number.toString(16).padStart(16, '0') as Actor
}

/** What is held after a value was written to it at this hybrid time, or after it was deleted. */
export function minted(
  held: RecordBytes | undefined,
  hlc: number,
  value: string | undefined,
  { context, actor = 1, expiresAt, id }: MintedWith = {}
): RecordBytes {
  return encodeSiblings(
    mintedSet(held && siblingsOf(held), {
      context,
      dot: { hlc, actor: actorOf(actor) },
      id,
      value: value === undefined ? undefined : utf8(value),
      packed: false,
      expiresAt
    })
  )
}

/** The values of a record as text, the newest last. */
export function valuesIn(record: RecordBytes | undefined): string[] {
  return record === undefined ? [] : siblingsOf(record).siblings.map(({ value }) => fromUtf8(value))
}
