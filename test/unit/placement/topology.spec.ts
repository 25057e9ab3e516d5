import assert from 'node:assert/strict'
import { copiesLeft, type Row } from '../../../src/placement/topology.ts'
import { store } from '../cluster/fixtures.ts'

/** A change of a row: owners before, owners after, and whom the newcomer copies from. */
function change(slots: readonly number[], next: readonly number[], from: readonly number[]): Row {
  const newcomer = next.find(n => !slots.includes(n))
  const copies = newcomer === undefined || from.length === 0 ? [] : [{ to: store(newcomer), from: from.map(store) }]
  return { slots: slots.map(store), change: { next: next.map(store), copies }, rowEpoch: 1 }
}

describe('copies that are left for a change of a row', () => {
  it('are enough when the leaver hands over, or when enough owners are copied from', () => {
    for (const row of [
      change([1, 2, 3], [1, 2, 4], [3]),
      change([1, 2, 3], [1, 2, 4], [1, 2]),
      change([1], [1, 2], [1]),
      change([1, 2], [1, 2, 3], [2]),
      change([1, 2, 3], [1, 2], []),
      change([1, 2, 3], [2, 1, 3], [])
    ]) {
      assert.equal(copiesLeft(row), undefined)
    }
    assert.equal(copiesLeft({ slots: [store(1)], change: undefined, rowEpoch: 1 }), undefined)
  })

  it('are counted when they are too few: acknowledged data is, or may be, gone', () => {
    assert.equal(copiesLeft(change([1, 2, 3], [1, 2, 4], [1])), 1)
    assert.equal(copiesLeft(change([1, 2, 3], [1, 2, 4], [])), 0)
    assert.equal(copiesLeft(change([1, 2], [1, 3], [])), 0)
    assert.equal(copiesLeft(change([1], [2], [])), 0)
  })
})
