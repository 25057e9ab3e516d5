import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { TTL_MAX_MS } from '../../../src/base/ttl.ts'
import { expiryOf } from '../../../src/model/expiry.ts'
import { hlcFromMs, hlcToMs } from '../../../src/model/hlc.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import {
  encodeRecord,
  isLive,
  recordExpiresAt,
  recordStamp,
  recordValue,
  restamp,
  restampWrite
} from '../../../src/model/record.ts'
import { claimOn, compareStamps, isNextTo, type Stamp, successorOf } from '../../../src/model/stamp.ts'

const actor = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(id => id.toString(16).padStart(16, '0') as Actor)
const hlc = fc.integer({ min: 1, max: 2 ** 53 - 2 ** 20 })
const stamp: fc.Arbitrary<Stamp> = fc.record({ hlc, actor }, { noNullPrototype: true })
const ttl = fc.integer({ min: 1, max: TTL_MAX_MS })

describe('an expiry', () => {
  it('is so many ms after the stamp, and fits into the record whatever the stamp', () => {
    fc.assert(
      fc.property(stamp, ttl, (made, ms) => {
        const expiresAt = expiryOf(made.hlc, ms)
        assert.equal(expiresAt, hlcToMs(made.hlc) + ms)
        const record = encodeRecord({ stamp: made, value: Uint8Array.of(1), expiresAt })
        assert.equal(recordExpiresAt(record), expiresAt)
        assert.ok(isLive(record, expiresAt - 1) && !isLive(record, expiresAt))
      })
    )
    assert.equal(expiryOf(5, undefined), undefined)
  })

  it('moves with a write that is stamped again, and stays with a record that is', () => {
    fc.assert(
      fc.property(stamp, stamp, fc.option(ttl, { nil: undefined }), (made, later, ms) => {
        fc.pre(compareStamps(made, later) < 0)
        const value = Uint8Array.of(7)
        const record = encodeRecord({ stamp: made, value, expiresAt: expiryOf(made.hlc, ms) })
        const moved = restampWrite(record, later)
        assert.deepEqual(moved, encodeRecord({ stamp: later, value, expiresAt: expiryOf(later.hlc, ms) }))
        const kept = restamp(record, later)
        assert.deepEqual([recordStamp(kept), recordExpiresAt(kept)], [later, expiryOf(made.hlc, ms)])
        assert.deepEqual(recordValue(kept), value)
        assert.deepEqual(recordStamp(record), made, 'the record itself is left alone')
      })
    )
  })
})

describe('a version that follows another', () => {
  it('comes right after it: before all that is later, but for the actor next to it', () => {
    fc.assert(
      fc.property(stamp, stamp, (base, other) => {
        const next = successorOf(base)
        assert.ok(compareStamps(base, next) < 0)
        if (compareStamps(base, other) < 0) assert.ok(compareStamps(next, other) <= 0)
        assert.equal(next.actor.length, 16)
        assert.ok(isNextTo(next, base) || next.hlc === base.hlc + 1)
      })
    )
    assert.deepEqual(successorOf({ hlc: 5, actor: 'ffffffffffffffff' as Actor }), { hlc: 6, actor: '0000000000000000' })
  })

  it('is a claim: later than what it is made of, before a stamp of the next ms, and the later the earlier it came', () => {
    fc.assert(
      fc.property(stamp, stamp, stamp, (base, one, two) => {
        const [first, second] = [claimOn(base, one), claimOn(base, two)]
        assert.ok(compareStamps(base, first) < 0)
        assert.ok(compareStamps(first, { hlc: base.hlc + 2, actor: base.actor }) < 0)
        assert.ok(compareStamps(successorOf(base), first) < 0, 'a new value wins over a new expiry')
        if (
          one.hlc < two.hlc &&
          two.hlc - one.hlc < 2 ** 31 &&
          Math.floor(one.hlc / 2 ** 32) === Math.floor(two.hlc / 2 ** 32)
        )
          assert.ok(compareStamps(first, second) > 0)
        if (one.hlc === two.hlc && one.actor.slice(0, 4) !== two.actor.slice(0, 4))
          assert.notEqual(compareStamps(first, second), 0)
      })
    )
    const base = { hlc: hlcFromMs(Date.UTC(2026, 0)), actor: '00000000000000aa' as Actor }
    const fresh = { hlc: base.hlc + 7, actor: '1234000000000000' as Actor }
    assert.equal(isNextTo(claimOn(base, fresh), base), false)
  })
})
