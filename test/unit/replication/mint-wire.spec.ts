import * as fc from 'fast-check'
import { NOTHING_SEEN, unite } from '../../../src/model/causality.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import {
  decodeMint,
  decodeMintReply,
  encodeMint,
  encodeMintReply,
  type MintReply,
  type MintRequest
} from '../../../src/replication/mint-wire.ts'
import { actorOf, minted } from '../../support/siblings.ts'
import { itTravels } from '../../support/wire-checks.ts'

const actor = fc.nat(5).map(actorOf)
const stamp = fc.record({ hlc: fc.nat(1000), actor }, { noNullPrototype: true })
const context = fc
  .tuple(fc.option(stamp, { nil: undefined }), fc.array(fc.tuple(actor, fc.nat(2000)), { maxLength: 5 }))
  .map(([base, entries]) => unite({ base, seen: new Map<Actor, number>(entries) }, NOTHING_SEEN))
const bytes = fc.uint8Array({ maxLength: 20 })

const request: fc.Arbitrary<MintRequest> = fc
  .record({
    partition: fc.nat(65_535),
    keyspace: bytes,
    key: bytes,
    exempt: fc.boolean(),
    id: fc.stringMatching(/^[0-9a-f]{16}$/u),
    context: fc.option(context, { nil: undefined }),
    value: fc.option(bytes, { nil: undefined }),
    packed: fc.boolean(),
    ttl: fc.option(fc.nat(1e9), { nil: undefined }),
    brought: fc.boolean(),
    again: fc.boolean()
  })
  .map(one => ({ ...one, packed: one.packed && one.value !== undefined }))

const reply: fc.Arbitrary<MintReply> = fc.oneof(
  fc.record({ kind: fc.constant('fenced' as const), epoch: fc.nat() }),
  fc.tuple(fc.boolean(), fc.nat(1000), fc.string()).map(([existed, hlc, value]) => ({
    kind: 'minted' as const,
    existed,
    record: minted(undefined, hlc + 1, value)
  }))
)

/** Maps are not to be seen in JSON. */
const shown = (one: MintRequest): unknown => ({
  ...one,
  context: one.context && { ...one.context, seen: [...one.context.seen].toSorted(([a], [b]) => (a < b ? -1 : 1)) }
})

describe('messages of minting', () => {
  itTravels<unknown>(
    'a request',
    request.map(shown),
    one => encodeMint(hidden(one)),
    encoded => shown(decodeMint(encoded))
  )
  itTravels('a reply', reply, encodeMintReply, decodeMintReply)
})

function hidden(one: unknown): MintRequest {
  const { context: seen, ...more } = one as Omit<MintRequest, 'context'> & {
    context: { base: undefined; seen: [Actor, number][] } | undefined
  }
  return { ...more, context: seen && { ...seen, seen: new Map(seen.seen) } }
}
