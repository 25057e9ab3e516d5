import assert from 'node:assert/strict'
import { checkExpiry, TELLS, type TimedOperation } from '../../../../src/testing/checkers/expiry.ts'

/** An operation of key `k`, from one ms to another of a clock that all have; acknowledged unless said otherwise. */
function did(
  kind: TimedOperation['kind'],
  [fromMs, toMs]: readonly [number, number],
  more: Partial<TimedOperation> = {}
): TimedOperation {
  return {
    kind,
    key: 'k',
    level: 'quorum',
    client: `c${TELLS}`,
    value: undefined,
    ttl: undefined,
    began: fromMs,
    ended: toMs,
    outcome: 'ok',
    told: undefined,
    found: undefined,
    expiresAt: undefined,
    low: fromMs,
    lowest: fromMs,
    highest: toMs,
    ...more
  }
}

const put = did('put', [0, 10], { value: 'v', ttl: 100 })
const rules = (...operations: TimedOperation[]): string[] => checkExpiry(operations).map(({ rule }) => rule)

describe('the checker of expiry', () => {
  it('finds nothing wrong with a value that is there, and then is not', () => {
    assert.deepEqual(rules(put, did('get', [20, 30], { found: 'v', expiresAt: 105 }), did('get', [106, 120])), [])
  })

  it('sees a value that is shown when it is over', () => {
    const late = did('get', [105, 120], { found: 'v', expiresAt: 105 })
    assert.deepEqual(rules(put, late), ['an expired value is shown to nobody'])
    const untold = did('get', [111, 120], { found: 'v', client: 'c' })
    assert.deepEqual(rules(put, untold), ['an expired value is shown to nobody'])
    assert.deepEqual(rules(put, did('get', [110, 120], { found: 'v', client: 'c', low: 109 })), [])
  })

  it('sees an expiry that began to count anew, and one that vanished', () => {
    const anew = did('get', [50, 60], { found: 'v', expiresAt: 150 })
    assert.deepEqual(rules(put, anew), ['an expiry is one that was given'])
    const gone = did('get', [50, 60], { found: 'v' })
    assert.deepEqual(rules(put, gone), ['an expiry is one that was given'])
    const touch = did('touch', [40, 48], { ttl: 105, told: true })
    assert.deepEqual(rules(put, touch, anew), [])
    const later = { ...touch, began: 61, ended: 65 }
    assert.deepEqual(rules(put, later, anew), ['an expiry is one that was given'])
    assert.deepEqual(rules(put, did('persist', [40, 45], { told: true }), gone), [])
  })

  it('sees a value that ends before its time, or gives way to one before it', () => {
    const early = did('get', [50, 60])
    assert.deepEqual(rules(put, early), ['no value ends before its time'])
    assert.deepEqual(rules(put, { ...early, level: 'one' }), [])
    assert.deepEqual(rules(put, did('delete', [20, 30]), early), [])
    assert.deepEqual(rules(put, did('delete', [20, 30], { outcome: 'unknown' }), early), [])
    const before = did('put', [-20, -10], { value: 'older' })
    const back = did('get', [50, 60], { found: 'older' })
    assert.deepEqual(rules(before, put, back), ['no value ends before its time'])
    assert.deepEqual(rules(put, did('get', [90, 101])), [], 'it may be over by some clock')
  })

  it('counts from the last touch that was acknowledged', () => {
    const touch = did('touch', [40, 48], { ttl: 1000, told: true })
    assert.deepEqual(rules(put, touch, did('get', [500, 510])), ['no value ends before its time'])
    const unknown: TimedOperation = { ...touch, outcome: 'unknown', ended: undefined, told: undefined }
    assert.deepEqual(rules(put, unknown, did('get', [500, 510])), [])
    assert.deepEqual(rules(put, { ...touch, told: false }, did('get', [500, 510])), [])
  })

  it('sees a delete that tells of a value that had expired', () => {
    assert.deepEqual(rules(put, did('delete', [110, 120], { told: true })), ['an expired value is shown to nobody'])
    assert.deepEqual(rules(put, did('delete', [109, 120], { told: true })), [])
    assert.deepEqual(rules(put, did('delete', [110, 120], { told: false })), [])
  })

  it('sees what nobody wrote', () => {
    assert.deepEqual(rules(did('get', [1, 2], { found: 'x' })), ['reads return what was written'])
  })
})
