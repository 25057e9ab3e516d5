import { toHex } from '../base/bytes.ts'
import { type RecordBytes, STAMP_END, STAMP_START } from '../model/record.ts'
import { dataKey } from './key-layout.ts'
import type { RecordKey, StoredRecord } from './record-store.ts'

/**
 * Which of the records that are kept for a target were written together: those of a unit have one stamp, which no other
 * record of their partition has. What a newer record has taken the place of belongs to its unit no more.
 */
export class HintUnits {
  /** Places of the members, by the names of their units and by their keys. */
  readonly #units = new Map<string, Map<string, RecordKey>>()

  /** Those that are kept as one. */
  add(places: readonly RecordKey[], record: RecordBytes): void {
    if (places.length < 2) return
    this.#units.set(nameOf(places[0]!, record), new Map(places.map(place => [keyOf(place), place])))
  }

  /** One that is kept no more. */
  remove(place: RecordKey, record: RecordBytes): void {
    if (this.#units.size === 0) return
    const name = nameOf(place, record)
    const unit = this.#units.get(name)
    if (unit?.delete(keyOf(place)) === true && unit.size === 0) this.#units.delete(name)
  }

  /** Places of all that are kept as one with this record; `undefined` when it is by itself. */
  of({ record, ...place }: StoredRecord): readonly RecordKey[] | undefined {
    if (this.#units.size === 0) return undefined
    const unit = this.#units.get(nameOf(place, record))
    return unit === undefined ? undefined : [...unit.values()]
  }

  /** Takes what is kept of a partition, in whatever order, for what an earlier life has left. */
  finder(): (stored: StoredRecord) => void {
    const firsts = new Map<string, RecordKey>()
    return ({ record, partition, keyspace, key }) => {
      const place = { partition, keyspace, key }
      const name = nameOf(place, record)
      const unit = this.#units.get(name)
      const first = firsts.get(name)
      if (unit !== undefined) unit.set(keyOf(place), place)
      else if (first !== undefined) this.add([first, place], record)
      else firsts.set(name, place)
    }
  }
}

function nameOf({ partition }: RecordKey, record: RecordBytes): string {
  return `${partition} ${toHex(record.subarray(STAMP_START, STAMP_END))}`
}

function keyOf({ partition, keyspace, key }: RecordKey): string {
  return toHex(dataKey(partition, keyspace, key))
}
