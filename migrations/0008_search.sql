-- Names, specialties and addresses as the hub folds them for search: without case and accents. The databases themselves
-- fold differently. Null in rows of an earlier release, until a job of the hub fills them.
alter table users add column name_search text;
alter table users add column specialty_search text;
alter table pharmacies add column name_search text;
alter table pharmacies add column address_search text;
