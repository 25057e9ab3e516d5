import assert from 'node:assert/strict'
import type { PackedRows } from '../../../src/codec/packed-rows.ts'
import { RowRooms } from '../../../src/replication/row-rooms.ts'
import { record } from './bench.ts'

const KEY = Buffer.from('key')

function filled(room: PackedRows, rows: number): PackedRows {
  for (let i = 0; i < rows; i++) room.append(KEY, 0, record(1), false)
  return room
}

describe('the rooms of pages', () => {
  it('are as large as the last page was, or as much of that as is asked for', () => {
    const rooms = new RowRooms()
    const first = filled(rooms.give(10_000), 5000)
    rooms.note(first)
    const room = (most: number): number => rooms.give(most).bytes.length
    assert.ok(room(10_000) > first.size && room(10_000) < 1.5 * first.size)
    assert.ok(room(500) < first.size / 2)
  })

  it('are used again once they are given back, empty, and two of them at most', () => {
    const rooms = new RowRooms()
    const [a, b, c] = [1, 2, 3].map(rows => filled(rooms.lend(10), rows)) as [PackedRows, PackedRows, PackedRows]
    for (const room of [a, b, c]) rooms.giveBack(room)
    const again = [1, 2, 3].map(() => rooms.lend(10))
    assert.deepEqual(
      again.map(room => room.length),
      [0, 0, 0]
    )
    assert.deepEqual(new Set(again.slice(0, 2)), new Set([a, b]))
    assert.ok(![a, b, c].includes(again[2]!))
    filled(a, 1)
    assert.equal(a.length, 1)
  })

  it('are not kept where they are large', () => {
    const rooms = new RowRooms()
    const large = rooms.lend(10)
    large.append(KEY, 0, new Uint8Array(2 * 1024 * 1024), false)
    rooms.giveBack(large)
    assert.notEqual(rooms.lend(10), large)
  })
})
