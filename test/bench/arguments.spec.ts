import assert from 'node:assert/strict'
import { parseArguments } from './arguments.ts'
import { cellName, compact, crossed } from './cell.ts'

describe('the command line of the bench', () => {
  it('narrows the matrix to each of one thing with each of all others', () => {
    const { filter, isFiltered } = parseArguments(
      'matrix --mix get,put --level quorum --in-flight 1,64 --store disk'.split(' ')
    )
    assert.ok(isFiltered)
    assert.deepEqual(crossed(filter).map(cellName), [
      'get, quorum, 1 in flight, disk, os',
      'get, quorum, 64 in flight, disk, os',
      'put, quorum, 1 in flight, disk, os',
      'put, quorum, 64 in flight, disk, os'
    ])
  })

  it('takes two revisions wherever they stand', () => {
    for (const line of [
      '--compare a b matrix --mix get',
      'matrix --compare a b --mix get',
      'matrix --mix get --compare a b'
    ]) {
      const { part, compare, filter } = parseArguments(line.split(' '))
      assert.deepEqual({ part, compare, mixes: filter.mixes }, { part: 'matrix', compare: ['a', 'b'], mixes: ['get'] })
    }
    assert.throws(() => parseArguments(['--compare', 'a']), /two revisions/u)
  })

  it('refuses what it does not know', () => {
    assert.throws(() => parseArguments(['--mix', 'scan']), /--mix is one of get, put/u)
    assert.throws(() => parseArguments(['--in-flight', 'many']), /a number above 0, not many/u)
    assert.throws(() => parseArguments(['--speed', '9']), /speed/u)
  })

  it('has no cell twice in the compact matrix', () => {
    const names = compact().map(cellName)
    assert.equal(new Set(names).size, names.length)
  })
})
