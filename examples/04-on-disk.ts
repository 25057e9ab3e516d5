// On disk: the same store, opened again after a stop, still has its identity and its data.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { createNode } from 'kilovolt'

const folder = await mkdtemp(join(tmpdir(), 'kilovolt-'))

const before = await createNode({ storage: new ClassicLevel(folder) })
await before.put('kept', 'yes')
const { id } = before
await before.stop()

const after = await createNode({ storage: new ClassicLevel(folder) })
console.log('same identity', after.id === id)
console.log('kept         ', await after.get('kept'))
await after.stop()

await rm(folder, { recursive: true })
