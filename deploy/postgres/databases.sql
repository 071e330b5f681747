-- Run once, on an empty volume: the database `cifar` is there already.
CREATE DATABASE mlflow OWNER cifar;
