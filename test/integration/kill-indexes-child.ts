// Writes records of a keyspace with an index to the directory in argv[2], until it is killed; says when some were acknowledged.
import { ClassicLevel } from 'classic-level'
import { createNode } from 'kilovolt'

const [, , directory = ''] = process.argv
const KEYS = 400
const AT_ONCE = 32
const TOLD_EVERY = 500

const logger = { debug() {}, info() {}, warn() {}, error() {} }
const node = await createNode({ storage: new ClassicLevel(directory), logger })
const words = node.keyspace('words', { indexes: { byLast: (text: string) => [text.at(-1), text.length] } })

let count = 0
async function write(): Promise<void> {
  const number = count++
  const key = `k${(number * 7919) % KEYS}`
  if (number % 10 === 0) await words.delete(key)
  else await words.put(key, String(number * 104_729))
  if (number % TOLD_EVERY === 0) process.send!(number)
  void write()
}
for (let i = 0; i < AT_ONCE; i++) void write()
