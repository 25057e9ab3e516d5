import assert from 'node:assert/strict'
import { utf8 } from '../../../src/base/bytes.ts'
import { IndexJournal } from '../../../src/storage/index-journal.ts'

const MIB = 1024 * 1024

describe('what an index is behind with', () => {
  it('is gone through by so many records and so many bytes, and by one at least', () => {
    const journal = new IndexJournal()
    for (const [i, bytes] of [8 * MIB, 10, 8 * MIB, 10, 10, 10].entries()) journal.add(utf8(`k${i}`), undefined, bytes)
    const passes: number[] = []
    for (let some = journal.some(2, MIB); some.length > 0; some = journal.some(2, MIB)) {
      passes.push(some.length)
      journal.remove(some)
    }
    assert.deepEqual(passes, [1, 2, 2, 1])
    assert.ok(journal.isEmpty)
  })

  it('knows of a record what it was first, and how large it is now', () => {
    const journal = new IndexJournal()
    assert.ok(journal.add(utf8('a'), utf8('first'), 10))
    assert.ok(journal.add(utf8('a'), utf8('second'), 8 * MIB))
    assert.ok(journal.add(utf8('b'), undefined, 10))
    const some = journal.some(9, MIB)
    assert.deepEqual(
      some.map(({ before }) => before),
      [utf8('first')]
    )
    assert.equal(journal.size, 2)
  })

  it('is refused when it is too much to remember', () => {
    const journal = new IndexJournal()
    for (let i = 0; i < 15; i++) assert.ok(journal.add(utf8(`k${i}`), new Uint8Array(MIB), 1))
    assert.ok(!journal.add(utf8('k15'), new Uint8Array(MIB), 1))
    journal.clear()
    assert.ok(journal.add(utf8('k15'), new Uint8Array(MIB), 1))
  })
})
