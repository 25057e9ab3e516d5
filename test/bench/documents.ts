import { loadCities } from '../../examples/demo/cities.ts'

/** Real JSON of about this size: cities of the demo's data, as many to a document as it takes. Some hundreds at least. */
export function documentsOf(bytes: number): readonly object[] {
  const documents: object[] = []
  let cities: object[] = []
  let size = 0
  for (const [id, city] of loadCities()) {
    cities.push({ id, ...city })
    size += JSON.stringify(cities.at(-1)).length + 1
    if (size < bytes) continue
    documents.push({ cities })
    cities = []
    size = 0
  }
  return documents
}
